"""An index from words to rows that is mapped as it is stored, so opening a table builds nothing."""

import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

UNKNOWN = -1


class Vocabulary(NamedTuple):
    """The words of a table, found by bisection over sorted hashes. Read-only, so threads may share it.

    A hash that matches does not prove a word, since some 20 pairs among 400,000 words share one; the word's
    bytes are compared as well.

    Attributes:
        hashes: (words,), ascending.
        order: (words,): `order[i]` is the row of the word that has `hashes[i]`.
        offsets: (words + 1,): the word of row r is `text[offsets[r]:offsets[r + 1]]`.
        text: All words in UTF-8, in the order of rows.
    """

    hashes: npt.NDArray[np.uint32]
    order: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    text: npt.NDArray[np.uint8]

    @classmethod
    def of(cls, words: Sequence[bytes]) -> "Vocabulary":
        """Builds the index of distinct words; row r has `words[r]`."""
        hashes = hashes_of(words)
        order = np.argsort(hashes, kind="stable").astype(np.int32)
        offsets = np.zeros(len(words) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, words), np.int64, len(words)), out=offsets[1:])
        text = np.frombuffer(b"".join(words), np.uint8)
        return cls(hashes=hashes[order], order=order, offsets=offsets, text=text)

    def find(self, words: Sequence[str]) -> npt.NDArray[np.int32]:
        """Returns the row of each word, (len(words),); UNKNOWN where the table lacks it."""
        distinct = list(dict.fromkeys(words))
        rows = self._find_distinct([word.encode("utf-8", "surrogatepass") for word in distinct])
        if len(distinct) == len(words):
            return rows
        row_of = dict(zip(distinct, rows.tolist(), strict=True))
        return np.fromiter(map(row_of.__getitem__, words), np.int32, len(words))

    def _find_distinct(self, words: Sequence[bytes]) -> npt.NDArray[np.int32]:
        hashes = hashes_of(words)
        places = np.searchsorted(self.hashes, hashes)
        places[places == len(self.hashes)] = 0  # above the largest hash: any entry will do, since it differs
        rows = np.where(self.hashes[places] == hashes, self.order[places], UNKNOWN)
        candidates = np.flatnonzero(rows != UNKNOWN)
        text = self.text.data
        starts, ends = self.offsets[rows[candidates]].tolist(), self.offsets[rows[candidates] + 1].tolist()
        for at, start, end in zip(candidates.tolist(), starts, ends, strict=True):
            if text[start:end] != words[at]:
                rows[at] = self._find_collision(words[at], place=int(places[at]))
        return rows

    def _find_collision(self, word: bytes, *, place: int) -> int:
        """Returns the row of a word that shares its hash with the word at `place`."""
        shared = self.hashes[place]
        for further in range(place + 1, len(self.hashes)):
            if self.hashes[further] != shared:
                break
            row = int(self.order[further])
            if self.text[self.offsets[row] : self.offsets[row + 1]].tobytes() == word:
                return row
        return UNKNOWN


def hashes_of(words: Sequence[bytes]) -> npt.NDArray[np.uint32]:
    """Returns the CRC-32 of each word, in an eighth of the time of a cryptographic hash."""
    return np.fromiter(map(zlib.crc32, words), np.uint32, len(words))
