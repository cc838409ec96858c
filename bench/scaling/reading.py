"""A figure and how far its repetitions were apart."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One figure, read several times.

    Attributes:
        median: What the model takes.
        low: A tenth of the repetitions were below.
        high: A tenth were above.
        count: Repetitions.
    """

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Of the repetitions."""
        ordered = sorted(values)
        tenth = len(ordered) // 10
        return cls(
            median=statistics.median(ordered),
            low=ordered[tenth],
            high=ordered[-1 - tenth],
            count=len(ordered),
        )
