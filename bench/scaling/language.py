"""What the model has to know of a corpus, without its words.

A file of its own because it comes out of figures.json: telling from figures needs no word list.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Language:
    """A corpus, as far as the model has to know it.

    Attributes:
        letters_per_word: In running text.
        length_shares: The probability of each word length, from 0 on.
        prefix_count: Different prefixes of all its words.
        words_seen: Where `distinct_prefixes` was computed.
        distinct_prefixes: Expected different prefixes of so many words.
    """

    letters_per_word: float
    length_shares: Sequence[float]
    prefix_count: int
    words_seen: Sequence[float]
    distinct_prefixes: Sequence[float]

    @cached_property
    def _logs(self) -> tuple[np.ndarray, np.ndarray]:
        return np.log(np.array(self.words_seen)), np.log(np.array(self.distinct_prefixes))

    def distinct(self, word_count: np.ndarray | float) -> np.ndarray:
        """Expected different prefixes of so many words, between the points along a straight line of logs."""
        counts = np.asarray(word_count, np.float64)
        found = np.exp(np.interp(np.log(np.maximum(counts, 1.0)), *self._logs))
        return np.where(counts < 1, counts * self.distinct_prefixes[0], found)

    def new_share(self, word_count: float) -> float:
        """The share of letters whose state is new, around the word of this number."""
        before, after = word_count / 1.2, word_count * 1.2
        new = float(self.distinct(after) - self.distinct(before))
        return new / ((after - before) * self.letters_per_word)

    def longest(self, word_count: int) -> float:
        """Expected letters of the longest of so many words."""
        below = np.minimum(np.cumsum(self.length_shares), 1.0)
        return float((1 - below**word_count).sum())


def zipf_shares(count: int, *, exponent: float) -> np.ndarray:
    """Shares of so many things, the k-th in proportion to k^-exponent."""
    shares = np.arange(1, count + 1, dtype=np.float64) ** -exponent
    return shares / shares.sum()
