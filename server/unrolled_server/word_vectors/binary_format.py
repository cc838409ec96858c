"""Word vectors in word2vec's binary format, as word2vec and gensim write it, plain or compressed."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from unrolled_server.word_vectors.blocks import (
    BLOCK_BYTES,
    HEADER,
    Block,
    VectorsError,
    first_not_finite,
    invalid_byte,
)

_HEADER_BYTES = 64
_MAX_WORD_BYTES = 1 << 16
_MAX_SIZE = 1 << 20
_DAMAGED = "the header has the wrong size, or the file is damaged: fetch it again"


class BinaryVectors:
    """A file in word2vec's binary format, read once, from its start, in blocks.

    The first line is the header: count and size. A vector is a word in UTF-8, a blank, and `size`
    little-endian float32 numbers; word2vec writes a line break after each vector, gensim does not.

    Raises:
        VectorsError: The header, or while `blocks` runs anything else, breaks the format.
    """

    def __init__(self, file: BinaryIO, *, source: Path) -> None:
        self._file = file
        self._source = source
        header = HEADER.fullmatch(file.readline(_HEADER_BYTES))
        if header is None:
            raise VectorsError(
                f"{source} does not begin with a line COUNT SIZE, as word2vec's binary format does; give "
                "another format its own ending, such as .txt"
            )
        self._count, self.size = int(header[1]), int(header[2])
        if self._count == 0 or not 0 < self.size <= _MAX_SIZE:
            raise VectorsError(
                f"{source}: the header says {self._count} vectors of {self.size} values; there must be "
                f"vectors of 1 to {_MAX_SIZE} values"
            )

    def blocks(self) -> Iterator[Block]:
        data, done = b"", 0
        while done < self._count:
            chunk = self._file.read(BLOCK_BYTES)
            if not chunk:
                raise VectorsError(
                    f"{self._source} ends after {done} of the {self._count} vectors that its header says; it "
                    "was cut off: fetch it again, or it is a text: give it another ending, such as .txt"
                )
            words, values, data = self._split(data + chunk, done=done)
            if words:
                yield self._checked(words, values, done=done)
                done += len(words)
        if (data + self._file.read(2)).strip(b"\n"):
            raise VectorsError(
                f"{self._source} goes on after the {self._count} vectors that its header says; correct the "
                "header"
            )

    def _split(self, data: bytes, *, done: int) -> tuple[list[bytes], bytes, bytes]:
        """Returns the words and the values of all vectors that `data` has whole, and the bytes after them."""
        words: list[bytes] = []
        values: list[memoryview] = []
        view, start = memoryview(data), 0
        while len(words) < self._count - done:
            start_of_word = start + data.startswith(b"\n", start)
            blank = data.find(b" ", start_of_word, start_of_word + _MAX_WORD_BYTES)
            end = blank + 1 + self.size * 4
            if blank < 0 and len(data) - start_of_word >= _MAX_WORD_BYTES:
                reason = f"has no blank after its word within {_MAX_WORD_BYTES} bytes; {_DAMAGED}"
                raise self._error(done + len(words), reason)
            if blank < 0 or end > len(data):
                break
            words.append(data[start_of_word:blank])
            values.append(view[blank + 1 : end])
            start = end
        return words, b"".join(values), data[start:]

    def _checked(self, words: Sequence[bytes], values: bytes, *, done: int) -> Block:
        text = b"\n".join(words)
        if not all(words) or text.count(b"\n") >= len(words) or invalid_byte(text) is not None:
            for at, word in enumerate(words):
                self._check_word(word, at=done + at)
        rows = np.frombuffer(values, "<f4").reshape(len(words), self.size).astype(np.float32, copy=False)
        if (bad := first_not_finite(rows)) is not None:
            row, column = bad
            reason = f"value {column + 1} is {rows[bad]}, which is no finite number; {_DAMAGED}"
            raise self._error(done + row, f"{words[row].decode()!r}, {reason}")
        return Block(words, rows)

    def _check_word(self, word: bytes, *, at: int) -> None:
        if not word or b"\n" in word:
            raise self._error(at, f"has the word {word!r:.80}, empty or with a line break; {_DAMAGED}")
        if (bad := invalid_byte(word)) is not None:
            raise self._error(
                at,
                f"byte {bad + 1} of its word is {word[bad]:#04x}, which is not UTF-8 text; if only words are "
                "damaged, repair them (gensim: KeyedVectors.load_word2vec_format(FILE, binary=True, "
                'unicode_errors="replace").save_word2vec_format(NEW, binary=True))',
            )

    def _error(self, at: int, reason: str) -> VectorsError:
        return VectorsError(f"{self._source}, vector {at + 1}: {reason}")
