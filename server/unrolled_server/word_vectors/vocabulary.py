"""Which word is which row: an index that is mapped as it is stored, with nothing to build at start.

The words stand one after the other in one run of UTF-8. Their hashes stand sorted beside the rows they
belong to, so a word is found by bisection, and then its bytes are compared: a hash that two words share, as
some twenty pairs among 400,000 words do, leads to the next entry.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

UNKNOWN = -1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Vocabulary:
    """The words of a table. Read-only, so any number of threads may share it.

    Attributes:
        hashes: uint32 (words,), ascending.
        order: int32 (words,): the row whose word has the hash at the same place.
        offsets: int64 (words + 1,): row r's word is `text[offsets[r]:offsets[r + 1]]`.
        text: uint8, all words in the order of rows.
    """

    hashes: npt.NDArray[np.uint32]
    order: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    text: npt.NDArray[np.uint8]

    @classmethod
    def of(cls, words: Sequence[bytes]) -> "Vocabulary":
        """The index of distinct words, whose rows are in this order."""
        hashes = hashes_of(words)
        order = np.argsort(hashes, kind="stable").astype(np.int32)
        offsets = np.zeros(len(words) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, words), np.int64, len(words)), out=offsets[1:])
        text = np.frombuffer(b"".join(words), np.uint8)
        return cls(hashes=hashes[order], order=order, offsets=offsets, text=text)

    def find(self, words: Sequence[str]) -> npt.NDArray[np.int32]:
        """The row of each word, (len(words),) int32; -1 where it is unknown. Bytes are compared."""
        distinct = list(dict.fromkeys(words))
        rows = self._find_distinct([word.encode("utf-8", "surrogatepass") for word in distinct])
        if len(distinct) == len(words):
            return rows
        row_of = dict(zip(distinct, rows.tolist(), strict=True))
        return np.fromiter(map(row_of.__getitem__, words), np.int32, len(words))

    def _find_distinct(self, words: Sequence[bytes]) -> npt.NDArray[np.int32]:
        hashes = hashes_of(words)
        places = np.searchsorted(self.hashes, hashes)
        places[places == len(self.hashes)] = 0  # beyond the last: any other entry, whose hash differs
        rows = np.where(self.hashes[places] == hashes, self.order[places], UNKNOWN)
        likely = np.flatnonzero(rows != UNKNOWN)
        text = self.text.data
        starts, ends = self.offsets[rows[likely]].tolist(), self.offsets[rows[likely] + 1].tolist()
        for at, start, end in zip(likely.tolist(), starts, ends, strict=True):
            if text[start:end] != words[at]:
                rows[at] = self._find_further(words[at], place=int(places[at]))
        return rows

    def _find_further(self, word: bytes, *, place: int) -> int:
        """The row of a word whose hash another word has too, at `place`."""
        shared = self.hashes[place]
        for further in range(place + 1, len(self.hashes)):
            if self.hashes[further] != shared:
                break
            row = int(self.order[further])
            if self.text[self.offsets[row] : self.offsets[row + 1]].tobytes() == word:
                return row
        return UNKNOWN


def hashes_of(words: Sequence[bytes]) -> npt.NDArray[np.uint32]:
    """CRC-32 of each word: the same in every process, in an eighth of the time of a cryptographic hash."""
    return np.fromiter(map(zlib.crc32, words), np.uint32, len(words))
