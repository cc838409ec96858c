"""The intended times of requests, which depend on the plan and its seed alone."""

import math
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from unrolled_loadtest.workload.plan import OpenLoop, Piece

_BLOCK = 4_096
_ROUNDING = 1e-6

Due: TypeAlias = tuple[NDArray[np.int64], NDArray[np.float64]]
"""The numbers of requests in the whole run, and when they are due, in seconds: 0 ends the warm-up."""


def due_times(
    load: OpenLoop, *, warmup_s: float, seed: int, process: int = 0, process_count: int = 1
) -> Iterator[Due]:
    """What one of several processes is to send, in order, block by block.

    All processes together send what one would send alone: they take turns.
    """
    counts = [(piece.from_per_s + piece.to_per_s) / 2 * piece.length_s for piece in load.pieces]
    ends = np.cumsum(counts)
    first = 0
    for passed in _passed(load, warmup_s=warmup_s, seed=seed):
        within = passed[: np.searchsorted(passed, ends[-1], side="left")]
        numbers = np.arange(first, first + len(within))
        mine = numbers % process_count == process
        yield numbers[mine], _times(within[mine], load.pieces, ends=ends)
        if len(within) < len(passed):
            return
        first += len(passed)


def _passed(load: OpenLoop, *, warmup_s: float, seed: int) -> Iterator[NDArray[np.float64]]:
    """How many requests the load has had when each is due, without end; negative in the warm-up.

    Counted from the measurement's begin, so that rounding moves no request of an even load across it.
    """
    before = load.pieces[0].from_per_s * warmup_s
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
    passed: NDArray[np.float64], pieces: Sequence[Piece], *, ends: NDArray[np.float64]
) -> NDArray[np.float64]:
    """When so many requests have passed.

    Within a piece a*x + s*x*x/2 have, of which this is the root that stays exact for s = 0 and for a = 0.
    Before the measurement the first piece's rate holds.
    """
    at = np.searchsorted(ends, passed, side="right")
    rates = np.array([piece.from_per_s for piece in pieces])[at]
    slopes = np.array([_slope(piece) for piece in pieces])[at] * (passed >= 0)
    lengths = np.array([piece.length_s for piece in pieces])
    begins = (np.cumsum(lengths) - lengths)[at]
    count = passed - np.concatenate([[0.0], ends[:-1]])[at]
    under = rates + np.sqrt(np.maximum(rates**2 + 2 * slopes * count, 0))
    within: NDArray[np.float64] = np.divide(2 * count, under, out=np.zeros_like(count), where=under > 0)
    times: NDArray[np.float64] = begins + within
    return times


def _slope(piece: Piece) -> float:
    return (piece.to_per_s - piece.from_per_s) / piece.length_s
