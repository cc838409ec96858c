"""What is known of a table when all its rows have been read: words, mean and digest, whatever the format."""

import hashlib
import logging
from collections.abc import Sequence

import numpy as np

from unrolled_server.word_vectors.blocks import Block, Rows

LOG = logging.getLogger(__name__)
_DIGEST_BYTES = 8


class Summary:
    """Collects the words, mean and digest of rows that are added block by block.

    If several vectors have the same word, the first counts, as for other loaders.

    Attributes:
        words: The distinct words, in the order of rows.
    """

    def __init__(self, size: int) -> None:
        self.words: dict[bytes, None] = {}
        self._size = size
        self._added_count = 0
        self._total = np.zeros((1, size), np.float64)
        self._rows_digest = hashlib.blake2b()

    def add(self, block: Block) -> Rows:
        """Adds a block; returns the rows of its new words, in C order."""
        new = self._add_unseen(block.words)
        values = block.values if len(new) == len(block.words) else block.values[new]
        rows = np.ascontiguousarray(values)
        self._added_count += len(block.words)
        self._rows_digest.update(rows.data)
        # Accumulating adds row after row, so the sum does not depend on where blocks end.
        total = np.concatenate([self._total, rows], dtype=np.float64)
        self._total = np.add.accumulate(total, axis=0)[-1:]
        return rows

    @property
    def mean(self) -> Rows:
        """The mean of all rows, (size,), summed in float64 in their order."""
        mean: Rows = (self._total[0] / len(self.words)).astype(np.float32)
        return mean

    @property
    def digest(self) -> str:
        """16 hexadecimal digits over size, values and words; no word holds a line break."""
        digest = hashlib.blake2b(str(self._size).encode(), digest_size=_DIGEST_BYTES)
        digest.update(self._rows_digest.digest())
        digest.update(b"\n".join(self.words) + b"\n")
        return digest.hexdigest()

    def log_oddities(self, source: object) -> None:
        """Logs a warning of words that are repeated or can't be found in sentences."""
        if repeated := self._added_count - len(self.words):
            LOG.warning("%s: %d vectors repeat a word; of each word the first counts", source, repeated)
        # str.split, which takes sentences apart, would split or drop these words.
        phrases = sum(word.split() != [word] for word in map(bytes.decode, self.words))
        if phrases:
            LOG.warning(
                "%s: %d words have white space inside or are white space; sentences are split there, so they "
                "are never found",
                source,
                phrases,
            )

    def _add_unseen(self, words: Sequence[bytes]) -> list[int]:
        """Adds words; returns the places of those that were new."""
        distinct = dict.fromkeys(words)
        if len(distinct) == len(words) and self.words.keys().isdisjoint(distinct):  # nearly always
            self.words |= distinct
            return list(range(len(words)))
        new = []
        for at, word in enumerate(words):
            if word not in self.words:
                self.words[word] = None
                new.append(at)
        return new
