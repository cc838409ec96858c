"""Timing two ways against each other on a noisy machine: in turn, within one run, and by medians."""

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

MIN_ROUNDS = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds of one call, over all rounds."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The figure to quote."""
        return statistics.median(self.seconds)


def measure(
    ways: Mapping[str, Callable[[], object]],
    *,
    before: Mapping[str, Callable[[], object]] | None = None,
    budget_s: float = 4.0,
) -> dict[str, Timing]:
    """Times every way once a round, until the budget is spent.

    Args:
        ways: Name to call. Calls under 100 us are repeated within a round.
        before: Name to an untimed preparation of each call; such a way is not repeated within a round.
        budget_s: Seconds for all ways together, after one round of warm-up.
    """
    before = before or {}
    repeats = {name: 1 if name in before else _repeats(way) for name, way in ways.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    gc.collect()
    gc.disable()
    try:
        end = time.perf_counter() + budget_s
        while time.perf_counter() < end or min(map(len, seconds.values())) < MIN_ROUNDS:
            for name, way in ways.items():
                before.get(name, _nothing)()
                seconds[name].append(_time(way, repeats[name]))
    finally:
        gc.enable()
    return {name: Timing(seconds=tuple(taken)) for name, taken in seconds.items()}


def ratio(rival: Timing, ours: Timing) -> float:
    """How many times faster ours is: the median over rounds of rival / ours, each pair taken side by side."""
    return statistics.median(theirs / mine for theirs, mine in zip(rival.seconds, ours.seconds, strict=True))


def _nothing() -> None:
    pass


def _time(way: Callable[[], object], repeats: int) -> float:
    begin = time.perf_counter()
    for _ in range(repeats):
        way()
    return (time.perf_counter() - begin) / repeats


def _repeats(way: Callable[[], object]) -> int:
    way()
    return max(1, int(1e-3 / max(_time(way, 3), 1e-7)))
