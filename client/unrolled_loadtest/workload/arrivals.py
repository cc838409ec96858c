"""Intended times of requests, which depend only on the plan and its seed."""

import math
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from unrolled_loadtest.workload.plan import OpenLoop, RateSegment

_BLOCK = 4_096
_ROUNDING = 1e-6

DueBlock: TypeAlias = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Numbers of requests in the run, and the seconds from the measurement's start when they are due."""


def due_times(
    load: OpenLoop, *, warmup_s: float, seed: int, process: int = 0, process_count: int = 1
) -> Iterator[DueBlock]:
    """Yields the requests of one of several processes, in order, in blocks.

    All processes together send what one would send alone: they take turns.
    """
    counts = [(segment.from_per_s + segment.to_per_s) / 2 * segment.length_s for segment in load.segments]
    ends = np.cumsum(counts)
    first = 0
    for passed in _positions(load, warmup_s=warmup_s, seed=seed):
        within = passed[: np.searchsorted(passed, ends[-1], side="left")]
        numbers = np.arange(first, first + len(within))
        mine = numbers % process_count == process
        yield numbers[mine], _times(within[mine], load.segments, ends=ends)
        if len(within) < len(passed):
            return
        first += len(passed)


def _positions(load: OpenLoop, *, warmup_s: float, seed: int) -> Iterator[NDArray[np.float64]]:
    """Yields without end the integral of the rate at which each request is due; negative in the warm-up.

    It counts from the measurement's start, so that rounding moves no request of an even load across it.
    """
    before = load.segments[0].from_per_s * warmup_s
    if load.arrivals == "constant":
        first = -math.floor(before + _ROUNDING)
        while True:
            yield np.arange(first, first + _BLOCK, dtype=np.float64)
            first += _BLOCK
    rng, last = np.random.default_rng((seed % 2**64, 1)), -before
    while True:
        block = last + rng.exponential(size=_BLOCK).cumsum()
        last = float(block[-1])
        yield block


def _times(
    positions: NDArray[np.float64], segments: Sequence[RateSegment], *, ends: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Returns when the integral of the rate reaches these positions.

    After x seconds of a segment the integral has grown by a*x + s*x*x/2; this root is exact for s = 0 and for
    a = 0. Before the measurement the first segment's initial rate holds.
    """
    at = np.searchsorted(ends, positions, side="right")
    rates = np.array([segment.from_per_s for segment in segments])[at]
    slopes = np.array([_slope(segment) for segment in segments])[at] * (positions >= 0)
    lengths = np.array([segment.length_s for segment in segments])
    begins = (np.cumsum(lengths) - lengths)[at]
    count = positions - np.concatenate([[0.0], ends[:-1]])[at]
    under = rates + np.sqrt(np.maximum(rates**2 + 2 * slopes * count, 0))
    within: NDArray[np.float64] = np.divide(2 * count, under, out=np.zeros_like(count), where=under > 0)
    times: NDArray[np.float64] = begins + within
    return times


def _slope(segment: RateSegment) -> float:
    return (segment.to_per_s - segment.from_per_s) / segment.length_s
