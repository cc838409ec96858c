"""The requests of the benchmarks.

Words come from wordfreq (https://pypi.org/project/wordfreq/; code Apache-2.0, data CC BY-SA 4.0), which ships
a frequency with every word. Fixed seeds draw the same sets in every run.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import wordfreq
from unrolled.v1 import forward_pb2 as pb

LETTERS = "abcdefghijklmnopqrstuvwxyz"
LESSON = ("hello", "eolll", "lleel")


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One request to measure."""

    name: str
    words: Sequence[str]
    alphabet: str = LETTERS
    hidden_size: int = 256
    seed: int = 0

    @property
    def title(self) -> str:
        """Returns the text for a table's first column."""
        count, symbol_count = len(self.words), sum(map(len, self.words))
        return f"{self.name} (words: {count:,}, symbols: {symbol_count:,}, hidden size: {self.hidden_size})"

    @property
    def request(self) -> bytes:
        """Returns the message as the SDK sends it."""
        return pb.ForwardRequest(
            words=self.words, hidden_size=self.hidden_size, seed=self.seed, alphabet=self.alphabet
        ).SerializeToString()

    def with_random_letters(self, draw: random.Random) -> "Workload":
        """Returns a workload with words of the same lengths, which hardly share a prefix with others."""
        words = ["".join(draw.choices(self.alphabet, k=len(word))) for word in self.words]
        return replace(self, words=words)


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


def workloads() -> dict[str, Workload]:
    """Returns the workloads of docs/background/performance.md by name."""
    draw = random.Random(11)
    named = [
        Workload(name="S", words=LESSON, alphabet="helo", hidden_size=2),
        Workload(name="M", words=random_words(64, seed=1)),
        Workload(name="L", words=random_words(1_024, seed=2)),
        Workload(name="X", words=random_words(16_384, seed=3)),
        Workload(name="sentences", words=["." * draw.randint(40, 160) for _ in range(3_000)]),
        Workload(name="text", words=["." * 500]),
    ]
    return {
        each.name: each.with_random_letters(draw) if each.name in ("sentences", "text") else each
        for each in named
    }
