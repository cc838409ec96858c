"""Histograms of durations in whole microseconds, with HdrHistogram's encoding."""

import math
from collections.abc import Iterator

import numpy as np
from hdrh.histogram import HdrHistogram
from numpy.typing import NDArray

LOWEST_US = 1
HIGHEST_US = 3_600_000_000
SIGNIFICANT_DIGITS = 3


class Latencies:
    """Counts of durations from a microsecond to an hour, to a thousandth of their value. Not thread-safe.

    >>> latencies = Latencies()
    >>> latencies.record(microseconds(np.array([0.25, 0.25, math.nan])))
    >>> latencies.count, round(latencies.percentile(50), 3)
    (2, 0.25)
    """

    __slots__ = ("_histogram",)

    def __init__(self) -> None:
        self._histogram = HdrHistogram(LOWEST_US, HIGHEST_US, SIGNIFICANT_DIGITS)

    def record(self, durations_us: NDArray[np.uint32]) -> None:
        """Adds durations in microseconds, which are in range."""
        values, counts = np.unique(durations_us, return_counts=True)
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            self._histogram.record_value(value, count)

    def add(self, other: "Latencies") -> None:
        """Adds the durations of another histogram."""
        self._histogram.add(other._histogram)  # noqa: SLF001 - of the same class

    @property
    def count(self) -> int:
        """Returns the number of durations."""
        return int(self._histogram.get_total_count())

    @property
    def mean_s(self) -> float:
        """Returns the mean; NaN without any duration."""
        counts = self._counts()
        sums = (self._middle_us(int(index)) * int(counts[index]) for index in np.flatnonzero(counts))
        return sum(sums) / self.count / 1e6 if self.count else math.nan

    @property
    def max_s(self) -> float:
        """Returns the longest duration; NaN without any."""
        return self._histogram.get_max_value() / 1e6 if self.count else math.nan

    def percentile(self, percent: float) -> float:
        """Returns the seconds that `percent` percent of the durations do not exceed; NaN without any."""
        if not self.count:
            return math.nan
        # Rounds up: the library takes the nearest rank, so that more durations could exceed its percentile.
        rank = max(math.ceil(round(percent * self.count / 100, 6)), 1)
        index = int(np.searchsorted(np.cumsum(self._counts()), rank))
        value: int = self._histogram.get_highest_equivalent_value(self._histogram.get_value_from_index(index))
        return value / 1e6

    def curve(self) -> Iterator[tuple[float, float]]:
        """Yields (percent, seconds) from the shortest to the longest, in steps that get finer towards 100."""
        for item in self._histogram.get_percentile_iterator(ticks_per_half_distance=5):
            yield item.percentile_level_iterated_to, item.value_iterated_to / 1e6

    def _counts(self) -> NDArray[np.uint64]:
        """Returns the library's own counts: it would walk them one by one in Python."""
        return np.frombuffer(self._histogram.counts, np.uint64)

    def _middle_us(self, index: int) -> float:
        lowest: int = self._histogram.get_value_from_index(index)
        return (lowest + int(self._histogram.get_highest_equivalent_value(lowest))) / 2

    def encoded(self) -> str:
        """Returns the histogram in HdrHistogram's V2 form, base64."""
        encoded: bytes = self._histogram.encode()
        return encoded.decode()


def microseconds(durations_s: NDArray[np.floating]) -> NDArray[np.uint32]:
    """Returns durations as a histogram takes them: in its range, without those that are NaN."""
    known = durations_s[~np.isnan(durations_s)].astype(np.float64)
    whole: NDArray[np.uint32] = np.clip(np.rint(known * 1e6), LOWEST_US, HIGHEST_US).astype(np.uint32)
    return whole
