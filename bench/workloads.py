"""The requests of the benchmarks.

Words come from wordfreq (https://pypi.org/project/wordfreq/; code Apache-2.0, data CC BY-SA 4.0), which ships
a frequency with every word. Fixed seeds draw the same sets in every run.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import wordfreq

LETTERS = "abcdefghijklmnopqrstuvwxyz"
LESSON = ("hello", "eolll", "lleel")


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One request to measure."""

    name: str
    words: Sequence[str]
    alphabet: str
    hidden_size: int
    seed: int = 0

    @property
    def title(self) -> str:
        """Returns the text for a table's first column."""
        return f"{self.name}: {len(self.words):,} words, hidden {self.hidden_size}"


@cache
def dictionary() -> tuple[list[str], np.ndarray]:
    """Returns English words of the letters a to z, and their relative frequencies, which sum to 1."""
    frequencies = {
        word: frequency
        for word, frequency in wordfreq.get_frequency_dict("en", wordlist="large").items()
        if word.isascii() and word.isalpha() and word.islower()
    }
    weights = np.array(list(frequencies.values()))
    return list(frequencies), weights / weights.sum()


def random_words(count: int, *, seed: int) -> list[str]:
    """Returns `count` distinct dictionary words, drawn uniformly."""
    words, _ = dictionary()
    picks = np.random.default_rng(seed).choice(len(words), size=count, replace=False)
    return [words[at] for at in picks]


def running_text(count: int, *, seed: int) -> list[str]:
    """Returns `count` words with the frequencies of real text."""
    words, weights = dictionary()
    picks = np.random.default_rng(seed).choice(len(words), size=count, p=weights)
    return [words[at] for at in picks]


def workloads() -> list[Workload]:
    """Returns S, M, L, X and text (docs/background/performance.md)."""
    return [
        Workload(name="S", words=LESSON, alphabet="helo", hidden_size=2),
        Workload(name="M", words=random_words(64, seed=1), alphabet=LETTERS, hidden_size=256),
        Workload(name="L", words=random_words(1_024, seed=2), alphabet=LETTERS, hidden_size=256),
        Workload(name="X", words=random_words(16_384, seed=3), alphabet=LETTERS, hidden_size=256),
        Workload(name="text", words=running_text(1_024, seed=4), alphabet=LETTERS, hidden_size=256),
    ]
