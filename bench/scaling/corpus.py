"""Words as a text has them, and the prefixes that they share.

A file of its own because both the simulation and the closed form stand on it. With words drawn independently
by their frequency, the states that a network knows after so many words have an expectation without any
simulation: a prefix with the probability p is known after n words with the probability 1 - (1 - p)^n.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bench.workloads import dictionary


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """The most frequent words of a language, and how often each comes.

    Attributes:
        words: Most frequent first.
        shares: Of each word in running text; they sum to 1.
    """

    words: Sequence[str]
    shares: np.ndarray

    @cached_property
    def summed_shares(self) -> np.ndarray:
        """Of each word and those before it."""
        return np.cumsum(self.shares)

    @cached_property
    def lengths(self) -> np.ndarray:
        """Letters of each word."""
        return np.array([len(word) for word in self.words])

    @cached_property
    def starts(self) -> np.ndarray:
        """Where each word's prefixes begin in ``prefixes``."""
        return np.cumsum(self.lengths) - self.lengths

    @cached_property
    def prefixes(self) -> np.ndarray:
        """The number of each prefix of each word, word after word, shortest first."""
        number_of: dict[str, int] = {}
        return np.array(
            [
                number_of.setdefault(word[: end + 1], len(number_of))
                for word in self.words
                for end in range(len(word))
            ],
            np.int32,
        )

    @cached_property
    def depths(self) -> np.ndarray:
        """Letters of each prefix but one, by the prefix's number."""
        depths = np.zeros(self.prefixes.max() + 1, np.int32)
        ends = np.repeat(np.cumsum(self.lengths) - self.lengths, self.lengths)
        depths[self.prefixes] = np.arange(len(self.prefixes)) - ends
        return depths

    @cached_property
    def prefix_shares(self) -> np.ndarray:
        """The probability that a word has a prefix, by the prefix's number."""
        return np.bincount(self.prefixes, np.repeat(self.shares, self.lengths))

    @property
    def letters_per_word(self) -> float:
        """In running text."""
        return float(self.shares @ self.lengths)

    def length_shares(self) -> np.ndarray:
        """The probability of each length, from 0 letters on."""
        return np.bincount(self.lengths, self.shares)

    def distinct_prefixes(self, word_count: float) -> float:
        """Expected different prefixes of so many words, drawn independently."""
        return float(-np.expm1(word_count * np.log1p(-np.minimum(self.prefix_shares, 1 - 1e-16))).sum())

    def prefixes_of(self, picks: np.ndarray) -> np.ndarray:
        """The prefixes of some words, one after the other."""
        lengths = self.lengths[picks]
        ends = np.cumsum(lengths)
        return self.prefixes[np.arange(ends[-1]) + np.repeat(self.starts[picks] - (ends - lengths), lengths)]


def english(word_count: int | None = None) -> Corpus:
    """The most frequent English words of the letters a to z; None for all that wordfreq has."""
    words, shares = dictionary()
    order = np.argsort(-shares, kind="stable")[:word_count]
    chosen = shares[order]
    return Corpus(words=[words[at] for at in order], shares=chosen / chosen.sum())
