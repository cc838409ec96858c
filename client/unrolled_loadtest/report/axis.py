"""Axes of charts: how far they reach, where their ticks are, and what stands beside those."""

import math
from collections.abc import Sequence

from unrolled_loadtest.report.formatting import clock
from unrolled_loadtest.report.svg import Canvas

_TIME_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 14_400)
_LONG_RUN_S = 180
_LABEL = 56
"""The room of a label along an axis, in pixels."""
_PERCENT_LABEL = 66
"""The same of one such as 99.999 %."""
_LINE = 44
"""The same up an axis."""
_MAX_FINE_TICKS = 11
_HALF, _NINES = 50, (90, 99, 99.9, 99.99, 99.999, 99.9999)


def time_axis(canvas: Canvas, *, start_s: float, end_s: float) -> None:
    """Along the run, with ticks from 0, where the warm-up ends; before it in a run that got no further."""
    most = canvas.width / _LABEL
    step = next((step for step in _TIME_STEPS if (end_s - start_s) / step <= most), _TIME_STEPS[-1])
    first = 0 if end_s > 0 else math.ceil(start_s / step)
    ticks = [step * number for number in range(first, math.floor(end_s / step + 1e-6) + 1)]
    is_long = end_s > _LONG_RUN_S
    canvas.axes.set_xticks(ticks, labels=[clock(tick) if is_long else f"{tick:g}" for tick in ticks])
    canvas.axes.set_xlim(start_s, end_s)
    canvas.axes.set_xlabel("time" if is_long else "seconds")


def duration_axis(canvas: Canvas, values_s: Sequence[float]) -> None:
    """Up from the shortest to the longest, in milliseconds, on a logarithmic scale."""
    ticks = log_ticks(min(values_s) * 1e3, max(values_s) * 1e3)
    axes = canvas.axes
    axes.set_yscale("log")
    axes.set_ylim(ticks[0], ticks[-1])
    if len(ticks) > _MAX_FINE_TICKS:
        ticks = [tick for tick in ticks if math.log10(tick).is_integer()]
    axes.set_yticks(ticks, labels=[f"{tick:,.6g}" for tick in ticks])
    axes.set_yticks([], minor=True)
    axes.grid(axis="y")


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2, 5 and their tenfolds, from the last up to `low` to the first from `high` on; two at least.

    >>> log_ticks(1.3, 40), log_ticks(2, 2)
    ([1.0, 2.0, 5.0, 10.0, 20.0, 50.0], [2.0, 5.0])
    """
    exponents = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    all_ticks = [float(f"{digit}e{exponent}") for exponent in exponents for digit in (1, 2, 5)]
    first = max(index for index, tick in enumerate(all_ticks) if tick <= low)
    last = min(index for index, tick in enumerate(all_ticks) if tick >= high and index > first)
    return all_ticks[first : last + 1]


def count_axis(canvas: Canvas, highest: float) -> None:
    """Up from 0, with room above the highest."""
    step = _round_step(highest / (canvas.height / _LINE))
    ticks = [step * number for number in range(math.ceil(highest / step + 0.05) + 1)]
    canvas.axes.set_ylim(0, ticks[-1])
    canvas.axes.set_yticks(ticks, labels=[f"{tick:,g}" for tick in ticks])
    canvas.axes.grid(axis="y")


def across_axis(canvas: Canvas, highest: float, *, name: str) -> None:
    """From 0 to a little beyond the highest."""
    step = _round_step(highest / (canvas.width / _LABEL))
    end = max(highest * 1.04, step)
    ticks = [step * number for number in range(math.floor(end / step) + 1)]
    canvas.axes.set_xlim(0, end)
    canvas.axes.set_xticks(ticks, labels=[f"{tick:,g}" for tick in ticks])
    canvas.axes.set_xlabel(name)


def _round_step(at_least: float) -> float:
    """The next of 1, 2, 5 and their tenfolds.

    >>> [_round_step(at_least) for at_least in (0, 0.13, 5, 5.1)]
    [1.0, 0.2, 5.0, 10.0]
    """
    if at_least <= 0:
        return 1.0
    below, above = log_ticks(at_least, at_least)
    return below if below == at_least else above


def nines(percent: float, count: int) -> float:
    """A percentile's place: each nine is as far from the last as that was; the last of `count` is the end.

    >>> [round(nines(percent, 1_000), 2) for percent in (50, 90, 99, 100)]
    [0.3, 1.0, 2.0, 3.0]
    """
    end = math.log10(max(count, 10))
    return end if percent >= 100 else min(-math.log10(1 - percent / 100), end)  # noqa: PLR2004 - per cent


def percent_axis(canvas: Canvas, count: int) -> None:
    """To the right, ever finer towards 100."""
    end = nines(100, count)
    step = math.ceil(_PERCENT_LABEL * end / canvas.width)
    places = {nines(percent, 10 * count): percent for percent in (_HALF, *_NINES[::step])}
    shown = {place: f"{percent:g} %" for place, percent in places.items() if place <= end}
    canvas.axes.set_xlim(0, end)
    canvas.axes.set_xticks(list(shown), labels=list(shown.values()))
    canvas.axes.grid(axis="x")
    canvas.axes.set_xlabel("percentile")
