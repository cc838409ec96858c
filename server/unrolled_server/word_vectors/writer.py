"""Writes a converted file: rows as they come, then what is known at the end, and the header last."""

import hashlib
from collections.abc import Sequence
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from unrolled_server.word_vectors.header import ROWS_START, Header, Origin
from unrolled_server.word_vectors.vocabulary import Vocabulary

_DIGEST_BYTES = 8


class Writer:
    """Fills an empty file with `add`, then one `finish`. Of equal words the first is kept, as loaders do."""

    def __init__(self, file: BinaryIO, *, size: int) -> None:
        self._file = file
        self._size = size
        self._words: dict[bytes, None] = {}
        self.repeated_count = 0
        self._sum = np.zeros(size, np.float64)
        self._rows_digest = hashlib.blake2b()
        file.seek(ROWS_START)

    @property
    def word_count(self) -> int:
        """The rows so far."""
        return len(self._words)

    def phrase_count(self) -> int:
        """Returns how many words no sentence can have, because `str.split` parts or drops them."""
        return sum(word.decode().split() != [word.decode()] for word in self._words)

    def add(self, words: Sequence[bytes], values: npt.NDArray[np.float32]) -> None:
        """Appends the row of each word that is new; `values` is (len(words), size)."""
        kept = [at for at, word in enumerate(words) if self._is_new(word)]
        rows = np.ascontiguousarray(values if len(kept) == len(words) else values[kept], "<f4")
        self.repeated_count += len(words) - len(kept)
        self._file.write(rows.data)
        self._rows_digest.update(rows.data)
        # Accumulating adds row after row, so the sum does not depend on where blocks end.
        addends = np.concatenate([self._sum[np.newaxis], rows], dtype=np.float64)
        self._sum = np.add.accumulate(addends, axis=0)[-1]

    def finish(self, origin: Origin) -> None:
        """Writes mean and index, and the header last."""
        words = list(self._words)
        vocabulary = Vocabulary.of(words)
        header = Header(
            word_count=len(words),
            size=self._size,
            text_bytes=len(vocabulary.text),
            digest=self._digest(words),
            origin=origin,
        )
        arrays = {
            "mean": (self._sum / len(words)).astype(np.float32),
            "hashes": vocabulary.hashes,
            "order": vocabulary.order,
            "offsets": vocabulary.offsets,
            "text": vocabulary.text,
        }
        sections = header.sections()
        for name, array in arrays.items():
            self._file.seek(sections[name].start)
            self._file.write(np.ascontiguousarray(array, sections[name].dtype).data)
        self._file.seek(0)
        self._file.write(header.pack())

    def _is_new(self, word: bytes) -> bool:
        count = len(self._words)
        self._words.setdefault(word)
        return len(self._words) > count

    def _digest(self, words: Sequence[bytes]) -> str:
        """16 hexadecimal digits over size, words and values; words hold no line break, so it parts them."""
        digest = hashlib.blake2b(str(self._size).encode(), digest_size=_DIGEST_BYTES)
        digest.update(self._rows_digest.digest())
        for word in words:
            digest.update(word + b"\n")
        return digest.hexdigest()
