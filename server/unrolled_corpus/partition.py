"""Where the corpus's sorted texts are cut into ranges, and the alphabet that it has.

A file of its own because both are decided once, from the records of all slices, and then kept: every range is
computed by the same borders, however often the job is resumed.
"""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from unrolled_corpus.parameters import Parameters
from unrolled_corpus.workspace import Work

MAX_RANGE_TEXTS = 32_768
"""Texts of a range, about, of all slices, so those that several slices have count several times; fewer where
parts have fewer rows, so that small parts mean small steps everywhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the second pass needs to know of the whole corpus.

    Attributes:
        alphabet: In one-hot order; empty with word vectors.
        borders: Range `n` has the texts from border `n - 1` on and before border `n`, by code points.
    """

    alphabet: str
    borders: tuple[str, ...]

    @property
    def range_count(self) -> int:
        """One more than there are borders."""
        return len(self.borders) + 1

    def bounds(self, number: int) -> tuple[str | None, str | None]:
        """The first text of a range that may be, and the first that may not; None where there is no such."""
        return (
            self.borders[number - 1] if number else None,
            self.borders[number] if number < len(self.borders) else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranges:
    """What an encoder works on; a value that travels to every process."""

    parameters: Parameters
    plan: Plan
    work: Work
    slice_count: int
    vectors_digest: str | None = None


def make_plan(slices: Iterable[Mapping[str, Any]], *, alphabet: str | None, range_texts: int) -> Plan:
    """The plan for slices with these records, in their order."""
    records = list(slices)
    letters = "".join(record["letters"] for record in records)
    weighed = sorted((text, record["weight"]) for record in records for text in record["sample"])
    return Plan(
        alphabet="".join(dict.fromkeys(letters)) if alphabet is None else alphabet,
        borders=tuple(_borders(weighed, range_texts=range_texts)),
    )


def _borders(weighed: list[tuple[str, int]], *, range_texts: int) -> Iterable[str]:
    """A text wherever enough of them have gone by; equal texts stay in one range."""
    count = 0
    for text, group in itertools.groupby(weighed, key=lambda pair: pair[0]):
        if count >= range_texts:
            yield text
            count = 0
        count += sum(weight for _, weight in group)
