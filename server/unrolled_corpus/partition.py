"""How the sorted texts of the corpus are cut into ranges, and the alphabet of the corpus.

Both are decided once, from the records of all slices, and kept, however often the job is resumed.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MAX_RANGE_TEXTS = 32_768
"""About how many texts a range has, where a text counts once for each slice that has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """The alphabet in one-hot order, and the first text of each range but the first, by code points."""

    alphabet: str
    borders: tuple[str, ...]

    @property
    def range_count(self) -> int:
        return len(self.borders) + 1

    def bounds(self, number: int) -> tuple[str | None, str | None]:
        """Returns the first text of a range and the first one after it; None at the ends."""
        edges = (None, *self.borders, None)
        return edges[number], edges[number + 1]


def make_partition(
    records: Sequence[Mapping[str, Any]], *, alphabet: str | None, range_texts: int
) -> Partition:
    """Returns the partition for slices with these records, in their order."""
    letters = "".join(record["letters"] for record in records)
    sample = sorted((text, record["weight"]) for record in records for text in record["sample"])
    return Partition(
        alphabet="".join(dict.fromkeys(letters)) if alphabet is None else alphabet,
        borders=tuple(_borders(sample, range_texts=range_texts)),
    )


def _borders(sample: Sequence[tuple[str, int]], *, range_texts: int) -> Iterator[str]:
    """Yields a border after every `range_texts` texts; equal texts stay in one range."""
    count = 0
    for text, group in itertools.groupby(sample, key=lambda pair: pair[0]):
        if count >= range_texts:
            yield text
            count = 0
        count += sum(weight for _, weight in group)
