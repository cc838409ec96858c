"""What the charts of a run show; how SVG is made of it is elsewhere."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from xml.etree import ElementTree as ET

from unrolled_loadtest.report.axis import (
    across_axis,
    count_axis,
    duration_axis,
    nines,
    percent_axis,
    time_axis,
)
from unrolled_loadtest.report.formatting import clock, duration, length, rate
from unrolled_loadtest.report.svg import Canvas, Zone, draw, ink
from unrolled_loadtest.results.histogram import Latencies
from unrolled_loadtest.results.record import Interval, Record, Search

_MARKED_POINTS = 40
_ERROR_COLORS = ("red", "orange", "violet", "blue")
_PART_COLORS = {
    "before the send": "violet",
    "network and client": "orange",
    "server queue": "green",
    "server compute": "blue",
}
_BAR_HEIGHT = 92


@dataclass(frozen=True, slots=True, kw_only=True)
class Stroke:
    """What a line or an area looks like, for the chart and for its legend.

    Attributes:
        name: What it stands for.
        color: The page's name of its colour.
        dashes: On and off, in line widths; none for a whole line.
        is_area: Whether it is an area.
        mark: Matplotlib's name of the mark of its points, if those are not connected: o or X.
    """

    name: str
    color: str
    dashes: tuple[float, ...] = ()
    is_area: bool = False
    mark: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A chart.

    Attributes:
        drawings: For wide and for narrow pages.
        legend: What its lines and areas stand for.
    """

    drawings: list[ET.Element]
    legend: list[Stroke]


def latency_over_time(pieces: Sequence[Interval]) -> Chart | None:
    """p50, p99 and maximum of each piece; None without any answer."""
    lines = {
        Stroke(name="maximum", color="violet", dashes=(1, 1.5)): [piece.latency.max_s for piece in pieces],
        Stroke(name="p99", color="orange"): [piece.latency.percentile(99) for piece in pieces],
        Stroke(name="p50", color="blue"): [piece.latency.percentile(50) for piece in pieces],
    }
    known = [value for values in lines.values() for value in values if not isnan(value)]
    if not known:
        return None

    def paint(canvas: Canvas) -> None:
        _prepare(canvas, pieces)
        duration_axis(canvas, known)
        for stroke, values in lines.items():
            _line(canvas, stroke, [_middle(piece) for piece in pieces], [value * 1e3 for value in values])

    told = (f"{stroke.name} {_range(values, duration)}" for stroke, values in lines.items())
    says = f"Latency over time: {'; '.join(told)}"
    zones = _zones(pieces, lines, duration)
    return Chart(drawings=draw(paint, name="latency", says=says, zones=zones), legend=list(lines))


def rate_over_time(pieces: Sequence[Interval]) -> Chart | None:
    """Offered and achieved; None if nothing was measured."""
    if not pieces:
        return None
    lines = {
        Stroke(name="achieved", color="blue"): [piece.answered_count / piece.length_s for piece in pieces],
        Stroke(name="offered", color="ink", dashes=(4, 3)): [
            piece.offered_count / piece.length_s for piece in pieces
        ],
    }
    highest = max(value for values in lines.values() for value in values)

    def paint(canvas: Canvas) -> None:
        _prepare(canvas, pieces)
        count_axis(canvas, highest)
        for stroke, values in lines.items():
            _line(canvas, stroke, [_middle(piece) for piece in pieces], values)

    told = (f"{stroke.name} {_range(values, rate)}" for stroke, values in lines.items())
    says = f"Requests per second over time: {'; '.join(told)}"
    zones = _zones(pieces, lines, rate)
    return Chart(drawings=draw(paint, name="rate", says=says, zones=zones), legend=list(lines))


def errors_over_time(pieces: Sequence[Interval]) -> Chart | None:
    """Errors per second by code, stacked; None without any."""
    whole: Counter[str] = Counter()
    for piece in pieces:
        whole.update(piece.error_counts)
    if not whole.total():
        return None
    lines = dict(_errors_by_code(pieces, [code for code, _ in whole.most_common(len(_ERROR_COLORS))]))
    tops = [sum(values) for values in zip(*lines.values(), strict=True)]

    def paint(canvas: Canvas) -> None:
        _prepare(canvas, pieces)
        count_axis(canvas, max(tops))
        below = [0.0] * len(pieces)
        for stroke, values in lines.items():
            _steps(canvas, stroke, pieces, values, below)
            below = [low + value for low, value in zip(below, values, strict=True)]

    says = f"Errors per second over time, {whole.total():,} in all, {rate(max(tops))} at most"
    zones = _zones(pieces, lines, rate)
    return Chart(drawings=draw(paint, name="errors", says=says, height=200, zones=zones), legend=list(lines))


def _errors_by_code(pieces: Sequence[Interval], codes: list[str]) -> Iterator[tuple[Stroke, list[float]]]:
    for code, color in zip(codes, _ERROR_COLORS, strict=False):
        counts = [piece.error_counts.get(code, 0) / piece.length_s for piece in pieces]
        yield Stroke(name=code, color=color, is_area=True), counts
    others = [
        sum(count for code, count in piece.error_counts.items() if code not in codes) / piece.length_s
        for piece in pieces
    ]
    if any(others):
        yield Stroke(name="other codes", color="soft", is_area=True), others


def percentile_curve(columns: Mapping[str, Latencies]) -> Chart | None:
    """Latency up to each percentile, from wherever it counts; None without any answer."""
    looks = (("orange", ()), ("blue", (4.0, 3.0)))
    lines = {
        Stroke(name=name, color=color, dashes=dashes): latencies
        for (name, latencies), (color, dashes) in zip(columns.items(), looks, strict=False)
        if latencies.count
    }
    if not lines:
        return None
    curves = {stroke: list(latencies.curve()) for stroke, latencies in lines.items()}
    count = max(latencies.count for latencies in lines.values())

    def paint(canvas: Canvas) -> None:
        percent_axis(canvas, count)
        duration_axis(canvas, [value for curve in curves.values() for _, value in curve])
        for stroke, curve in curves.items():
            places = [nines(percent, lines[stroke].count) for percent, _ in curve]
            _line(canvas, stroke, places, [value * 1e3 for _, value in curve])

    told = (
        f"{stroke.name} {duration(one.percentile(50))} at p50, {duration(one.percentile(99))} at p99, "
        f"{duration(one.max_s)} at the end"
        for stroke, one in lines.items()
    )
    says = f"Latency by percentile: {'; '.join(told)}"
    return Chart(drawings=draw(paint, name="percentiles", says=says), legend=list(lines))


def mean_split(record: Record) -> Chart | None:
    """The mean latency as the sum of its parts; None if the server did not tell its own."""
    if not (record.latency.count and record.server_compute.count):
        return None
    parts = mean_parts(record)
    whole = sum(parts.values())

    def paint(canvas: Canvas) -> None:
        across_axis(canvas, whole * 1e3, name="milliseconds, mean")
        canvas.axes.set_yticks([])
        canvas.axes.spines["left"].set_visible(False)
        start = 0.0
        for name, mean_s in parts.items():
            canvas.axes.barh(
                0, mean_s * 1e3, left=start * 1e3, height=1, color=ink(_PART_COLORS[name]), linewidth=0
            )
            start += mean_s

    says = f"Mean latency: {', '.join(f'{name} {duration(mean_s)}' for name, mean_s in parts.items())}"
    legend = [
        Stroke(name=f"{name} {duration(mean_s)}", color=_PART_COLORS[name], is_area=True)
        for name, mean_s in parts.items()
    ]
    return Chart(drawings=draw(paint, name="split", says=says, height=_BAR_HEIGHT), legend=legend)


def mean_parts(record: Record) -> dict[str, float]:
    """Means, which unlike percentiles add up; never below 0, since not every reply need tell its times."""
    queue, compute = (
        one.mean_s if one.count else 0.0 for one in (record.server_queue, record.server_compute)
    )
    unsent = record.latency.mean_s - record.latency_from_send.mean_s
    rest = min(record.latency.mean_s, record.latency_from_send.mean_s) - queue - compute
    parts = {"before the send": unsent} if record.is_open else {}
    parts |= {"network and client": rest, "server queue": queue, "server compute": compute}
    return {name: max(0.0 if isnan(mean_s) else mean_s, 0.0) for name, mean_s in parts.items()}


def search_trials(search: Search) -> Chart | None:
    """The target's percentile by the rate that was tried; None if no trial had an answer."""
    trials = [trial for trial in search.trials if not isnan(trial.percentile_s)]
    if not trials:
        return None
    met = Stroke(name="met the target", color="blue", mark="o")
    missed = Stroke(name="missed it", color="orange", mark="X")
    limit = Stroke(name=f"limit, {length(search.limit_s)}", color="ink", dashes=(4, 3))

    def paint(canvas: Canvas) -> None:
        across_axis(canvas, max(trial.rate_per_s for trial in trials), name="offered per second")
        duration_axis(canvas, [search.limit_s, *(trial.percentile_s for trial in trials)])
        canvas.axes.axhline(search.limit_s * 1e3, color=ink(limit.color), linestyle=(0, limit.dashes))
        for stroke in (met, missed):
            shown = [trial for trial in trials if trial.is_met == (stroke is met)]
            canvas.axes.plot(
                [trial.rate_per_s for trial in shown],
                [trial.percentile_s * 1e3 for trial in shown],
                color=ink(stroke.color),
                linestyle="none",
                marker=stroke.mark,
                markersize=8,
            )

    says = (
        f"p{search.percent:g} by offered rate, {len(search.trials)} trials; the table below has the numbers"
    )
    return Chart(drawings=draw(paint, name="search", says=says), legend=[met, missed, limit])


def _prepare(canvas: Canvas, pieces: Sequence[Interval]) -> None:
    """The time axis, with the warm-up shaded."""
    start_s, end_s = pieces[0].since_s, pieces[-1].since_s + pieces[-1].length_s
    time_axis(canvas, start_s=start_s, end_s=end_s)
    if start_s < 0:
        canvas.axes.axvspan(start_s, min(0.0, end_s), color=ink("shade"), linewidth=0, zorder=0)


def _line(canvas: Canvas, stroke: Stroke, places: Sequence[float], values: Sequence[float]) -> None:
    """With a mark on each point where those are few, or it has no neighbour to be connected to."""
    gaps = [True, *map(isnan, values), True]
    marked = [
        index
        for index in range(len(values))
        if len(values) <= _MARKED_POINTS or (gaps[index] and gaps[index + 2])
    ]
    canvas.axes.plot(
        places,
        values,
        color=ink(stroke.color),
        linestyle=(0, stroke.dashes) if stroke.dashes else "solid",
        marker="o",
        markevery=marked,
        clip_on=False,
    )


def _steps(
    canvas: Canvas,
    stroke: Stroke,
    pieces: Sequence[Interval],
    values: Sequence[float],
    below: Sequence[float],
) -> None:
    edges = [*(piece.since_s for piece in pieces), pieces[-1].since_s + pieces[-1].length_s]
    tops = [low + value for low, value in zip(below, values, strict=True)]
    canvas.axes.stairs(tops, edges, baseline=below, fill=True, color=ink(stroke.color), linewidth=0)


def _middle(piece: Interval) -> float:
    return piece.since_s + piece.length_s / 2


def _range(values: Sequence[float], told: Callable[[float], str]) -> str:
    known = [value for value in values if not isnan(value)]
    return f"{told(min(known))} to {told(max(known))}"


def _zones(
    pieces: Sequence[Interval], lines: Mapping[Stroke, Sequence[float]], told: Callable[[float], str]
) -> Iterator[Zone]:
    """For each piece, what its lines are there."""
    for index, piece in enumerate(pieces):
        at = f"{clock(piece.since_s)}" if piece.since_s >= 0 else "warm-up"
        values = (f"{stroke.name} {told(of[index])}" for stroke, of in lines.items())
        yield Zone(start=piece.since_s, end=piece.since_s + piece.length_s, text=f"{at}: {', '.join(values)}")
