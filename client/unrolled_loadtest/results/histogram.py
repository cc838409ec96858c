"""Durations in a histogram of high dynamic range, whose format other tools read.

A file of its own because it is the one place that knows the library, and that its values are whole
microseconds.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Self

import numpy as np
from hdrh.histogram import HdrHistogram
from numpy.typing import NDArray

LOWEST_US = 1
HIGHEST_US = 3_600_000_000
SIGNIFICANT_DIGITS = 3
"""A value is known to a thousandth of itself, from a microsecond to an hour."""


class Latencies:
    """Counts of durations. Not thread-safe.

    >>> latencies = Latencies()
    >>> latencies.record(0.25, count=3)
    >>> latencies.count, round(latencies.percentile(50), 3)
    (3, 0.25)
    """

    __slots__ = ("histogram",)

    def __init__(self, histogram: HdrHistogram | None = None) -> None:
        self.histogram = histogram or HdrHistogram(LOWEST_US, HIGHEST_US, SIGNIFICANT_DIGITS)

    def record(self, duration_s: float, *, count: int = 1) -> None:
        """Adds a duration; one below a microsecond or above an hour counts as that."""
        value_us = min(max(round(duration_s * 1e6), LOWEST_US), HIGHEST_US)
        self.histogram.record_value(value_us, count)

    def add(self, other: "Latencies") -> None:
        """Adds what another one has."""
        self.histogram.add(other.histogram)

    @classmethod
    def merged(cls, parts: Iterable["Latencies"]) -> Self:
        """All of them together."""
        whole = cls()
        for part in parts:
            whole.add(part)
        return whole

    @property
    def count(self) -> int:
        """Durations recorded."""
        return int(self.histogram.get_total_count())

    @property
    def mean_s(self) -> float:
        """Their mean; NaN without any."""
        counts = self._counts()
        sums = (self._middle(int(index)) * int(counts[index]) for index in np.flatnonzero(counts))
        return sum(sums) / self.count / 1e6 if self.count else math.nan

    @property
    def max_s(self) -> float:
        """The longest; NaN without any."""
        return self.histogram.get_max_value() / 1e6 if self.count else math.nan

    def percentile(self, percent: float) -> float:
        """Seconds that so many percent of the durations do not pass; NaN without any."""
        if not self.count:
            return math.nan
        # Upwards: the library rounds to the nearest, so that more might be longer than the percentile says.
        rank = max(math.ceil(round(percent * self.count / 100, 6)), 1)
        index = int(np.searchsorted(np.cumsum(self._counts()), rank))
        value: int = self.histogram.get_highest_equivalent_value(self.histogram.get_value_from_index(index))
        return value / 1e6

    def curve(self) -> Iterator[tuple[float, float]]:
        """(percent, seconds) from the shortest to the longest, ever finer towards 100."""
        for item in self.histogram.get_percentile_iterator(ticks_per_half_distance=5):
            yield item.percentile_level_iterated_to, item.value_iterated_to / 1e6

    def _counts(self) -> NDArray[np.uint64]:
        """The histogram's own counts, for numpy: the library walks them one by one."""
        return np.frombuffer(self.histogram.counts, np.uint64)

    def _middle(self, index: int) -> float:
        """Of the values, in microseconds, that one count stands for."""
        lowest: int = self.histogram.get_value_from_index(index)
        return (lowest + int(self.histogram.get_highest_equivalent_value(lowest))) / 2

    def encoded(self) -> str:
        """The histogram in HdrHistogram's V2 form, base64."""
        encoded: bytes = self.histogram.encode()
        return encoded.decode()

    @classmethod
    def decoded(cls, text: str) -> Self:
        """What `encoded` gave."""
        return cls(HdrHistogram.decode(text.encode()))
