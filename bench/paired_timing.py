"""Compares the speed of several implementations on a noisy machine: in turn, within one run, by medians."""

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

MIN_ROUNDS = 5
MIN_TIMED_S = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One implementation of the work.

    Attributes:
        call: The timed call.
        prepare: Prepares that many calls, untimed.
    """

    call: Callable[[], object]
    prepare: Callable[[int], object] = lambda _count: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds of one call, by round."""

    seconds: tuple[float, ...]

    @property
    def ms(self) -> float:
        """Returns the median in milliseconds."""
        return statistics.median(self.seconds) * 1e3

    def times_as_fast_as(self, rival: "Timing") -> float:
        """Returns the median over rounds of the rival's time divided by ours."""
        pairs = zip(rival.seconds, self.seconds, strict=True)
        return statistics.median(theirs / ours for theirs, ours in pairs)


def measure(ways: Mapping[str, Way], *, budget_s: float) -> dict[str, Timing]:
    """Times every way once per round until the budget is spent, at least five times.

    Args:
        ways: By name. Short calls are repeated within a round.
        budget_s: Seconds for all ways together, after the warm-up.
    """
    repeats = {name: _repeats(way) for name, way in ways.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    gc.collect()
    gc.disable()
    try:
        end = time.perf_counter() + budget_s
        while time.perf_counter() < end or len(seconds[next(iter(ways))]) < MIN_ROUNDS:
            for name, way in ways.items():
                seconds[name].append(_time(way, repeats[name]))
    finally:
        gc.enable()
    return {name: Timing(seconds=tuple(taken)) for name, taken in seconds.items()}


def _time(way: Way, repeats: int) -> float:
    way.prepare(repeats)
    begin = time.perf_counter()
    for _ in range(repeats):
        way.call()
    return (time.perf_counter() - begin) / repeats


def _repeats(way: Way) -> int:
    """Warms up, with a single call if it is slow."""
    taken_s = min(_time(way, 1), 1.0)
    if taken_s < 10 * MIN_TIMED_S:
        _time(way, 2)
        taken_s = _time(way, 2)
    return max(1, int(MIN_TIMED_S / max(taken_s, 1e-7)))
