"""Word vectors as text: GloVe's format, word2vec's text format and fastText's .vec.

A line holds a word and its values, with single spaces between; one more space at the end, as word2vec and
fastText write it, and Windows' line ends are read over. A first line of two whole numbers is the header of
word2vec and fastText, count and size; without one the first line's values tell the size. Words may have
spaces inside, as a few of GloVe's do: the values are the last fields. The text is UTF-8.

Everything else is an error with its line, because a word dropped or a value guessed would change states in
silence: bad UTF-8, blank lines, a value that is no finite float32 number, too few or too many values, and
another number of lines than the header tells. Zero vectors are vectors. A last line without a line break is
taken, with a warning.
"""

import codecs
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from unrolled_server.vectors.errors import VectorsError
from unrolled_server.vectors.line import LineError, numbers_of, parse_line, size_of

LOG = logging.getLogger(__name__)
# About 1,600 lines of 300 values. Their strings take ten times that; larger blocks were no faster.
BLOCK_BYTES = 4 << 20
_HEADER = re.compile(rb"(\d{1,18}) (\d{1,18})\s*")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Block:
    """Consecutive lines: `values` is (len(words), size), and `first_line` counts from 1."""

    words: Sequence[bytes]
    values: npt.NDArray[np.float32]
    first_line: int


class TextVectors:
    """A text file of word vectors, read from its start in blocks; `size` is known before the first.

    Raises:
        VectorsError: The first line, or when blocks are taken any other, breaks the format.
    """

    def __init__(self, file: BinaryIO, *, source: Path) -> None:
        self._file = file
        self._source = source
        first = file.readline(BLOCK_BYTES)
        if len(first) == BLOCK_BYTES and not first.endswith(b"\n"):
            raise self._too_long(1)
        first = first.removeprefix(codecs.BOM_UTF8)
        header = _HEADER.fullmatch(first)
        self._told_count = int(header[1]) if header else None
        self._first_line = 2 if header else 1
        self.size = int(header[2]) if header else self._size_of(first)
        if self._told_count == 0 or self.size == 0:
            raise self._error(1, f"the header tells of {self._told_count} vectors of {self.size} values")
        if not header:
            file.seek(-len(first), 1)

    def blocks(self) -> Iterator[Block]:
        """The file's vectors in order; once only."""
        last_line = self._first_line - 1
        for first_line, text in self._whole_lines():
            block = self._parse(text, first_line=first_line)
            last_line += len(block.words)
            self._check_count(last_line, is_last=False)
            yield block
        self._check_count(last_line, is_last=True)

    def _size_of(self, first: bytes) -> int:
        if not first:
            raise self._error(1, "the file is empty; a word and its values are due")
        try:
            return size_of(first)
        except LineError as error:
            raise self._error(1, str(error)) from None

    def _whole_lines(self) -> Iterator[tuple[int, bytes]]:
        """Lines without the last line break, some MiB at a time, with the number of the first."""
        line = self._first_line
        rest = b""
        while chunk := self._file.read(BLOCK_BYTES):
            lines, line_break, tail = (rest + chunk).rpartition(b"\n")
            if line_break:
                yield line, lines
                line += lines.count(b"\n") + 1
            if len(tail) >= BLOCK_BYTES:
                raise self._too_long(line)
            rest = tail
        if rest:
            LOG.warning(
                "%s, line %d: has no line break; if it was cut off, so is its last value", self._source, line
            )
            yield line, rest

    def _parse(self, text: bytes, *, first_line: int) -> Block:
        try:
            words, values = _parse_lines(text, size=self.size)
        except ValueError:
            words, values = self._parse_each(text.split(b"\n"), first_line=first_line)
        return Block(words=words, values=values, first_line=first_line)

    def _parse_each(
        self, lines: Sequence[bytes], *, first_line: int
    ) -> tuple[list[bytes], npt.NDArray[np.float32]]:
        """What `_parse_lines` gives, also of words with spaces, or the error of the first bad line."""
        words, rows = [], []
        for number, raw in enumerate(lines, first_line):
            try:
                word, row = parse_line(raw, size=self.size)
            except LineError as error:
                raise self._error(number, str(error)) from None
            words.append(word)
            rows.append(row)
        return words, np.stack(rows)

    def _check_count(self, last_line: int, *, is_last: bool) -> None:
        if self._told_count is None:
            return
        count = last_line - 1
        if count > self._told_count:
            reason = (
                f"one vector more than the {self._told_count} that the header tells of; correct the header"
            )
            raise self._error(self._told_count + 2, reason)
        if is_last and count < self._told_count:
            reason = (
                f"the file ends after {count} of the {self._told_count} vectors that its header tells of; "
                "it was cut off: fetch it again"
            )
            raise self._error(last_line, reason)

    def _too_long(self, line: int) -> VectorsError:
        return self._error(
            line, f"is longer than {BLOCK_BYTES} bytes; a binary file must be saved as text first"
        )

    def _error(self, line: int, reason: str) -> VectorsError:
        return VectorsError.at_line(self._source, line, reason)


def _parse_lines(text: bytes, *, size: int) -> tuple[list[bytes], npt.NDArray[np.float32]]:
    """Words and values (lines, size) of lines without surprises, all in one go.

    Of seven ways this was the fastest, at 2.7 times the speed of `float` and a list.

    Raises:
        ValueError: Some line is wrong, or has a word with spaces; which one must be found line by line.
    """
    lines = [line.rstrip(" \r") for line in text.decode().split("\n")]
    parts = [line.partition(" ") for line in lines]
    words = [word.encode() for word, _, _ in parts]
    rests = [rest for _, _, rest in parts]
    if b"\0" in text or not all(words) or not all(rests):
        raise ValueError
    values = numbers_of(rests)
    if values.shape != (len(lines), size) or not np.isfinite(values).all():
        raise ValueError
    return words, values
