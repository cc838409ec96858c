"""Charts of a run, drawn by matplotlib as SVG elements for an HTML page."""

import io
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from math import isnan, nan

import matplotlib as mpl
import matplotlib.style
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from unrolled_client._display.printable import printable

from unrolled_loadtest.results.histogram import Latencies
from unrolled_loadtest.results.record import Interval

_STYLE = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.figsize": (8.8, 2.8),
    "figure.constrained_layout.use": True,
    "font.size": 9,
    "grid.color": "#d9dce1",
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "svg.fonttype": "none",
    "text.parse_math": False,  # a $ in a label is a $
}
_NO_METADATA = {"Creator": None, "Date": None, "Format": None, "Type": None}
# HTML needs no namespaces, and a style would apply to the whole page.
_NOT_FOR_PAGES = re.compile(r'<defs>\s*<style.*?</style>\s*</defs>| xmlns(?::\w+)?="[^"]*"', re.DOTALL)
_NAMES = re.compile(r'(\bid="|href="#|url\(#)(?=[^<>]*>)')  # within tags only
_MAX_MARKED_POINTS = 40
_MAX_CODES = 6
_NINES = (0.0, 90.0, 99.0, 99.9, 99.99, 99.999)


def latency_over_time(intervals: Sequence[Interval]) -> Markup | None:
    """Draws p50, p99 and maximum of each interval; None without any answer."""
    lines = {
        "maximum": [interval.latency.max_s * 1e3 for interval in intervals],
        "p99": [interval.latency.percentile(99) * 1e3 for interval in intervals],
        "p50": [interval.latency.percentile(50) * 1e3 for interval in intervals],
    }
    if all(map(isnan, lines["maximum"])):
        return None
    return _svg("latency", lambda axes: _plot_over_time(axes, intervals, lines, is_latency=True))


def rate_over_time(intervals: Sequence[Interval]) -> Markup | None:
    """Draws requests and answers per second; None if nothing was measured."""
    lines = {
        "offered": [interval.offered_count / interval.length_s for interval in intervals],
        "achieved": [interval.answered_count / interval.length_s for interval in intervals],
    }
    return _svg("rate", lambda axes: _plot_over_time(axes, intervals, lines)) if intervals else None


def errors_over_time(intervals: Sequence[Interval]) -> Markup | None:
    """Draws errors per second by gRPC's code, the most frequent ones; None without any."""
    total: Counter[str] = Counter()
    for interval in intervals:
        total.update(interval.error_counts)
    if not total.total():
        return None
    lines = {
        code: [interval.error_counts.get(code, 0) / interval.length_s for interval in intervals]
        for code, _ in total.most_common(_MAX_CODES)
    }
    return _svg("errors", lambda axes: _plot_over_time(axes, intervals, lines))


def percentile_curve(columns: Mapping[str, Latencies]) -> Markup | None:
    """Draws the latency at each percentile, by column; None without any answer."""
    curves = {name: list(latencies.curve()) for name, latencies in columns.items() if latencies.count}
    if not curves:
        return None
    # The scale puts as much room between 90 and 99 % as between 99 and 99.9 %; 100 % has none.
    end = 1 - 1 / (2 * max(columns[name].count for name in curves))

    def paint(axes: Axes) -> None:
        for name, points in curves.items():
            places = [1 / (1 - min(percent / 100, end)) for percent, _ in points]
            axes.plot(places, [seconds * 1e3 for _, seconds in points], label=name)
        ticks = [percent for percent in _NINES if percent / 100 < end]
        axes.set_xscale("log")
        axes.set_xticks(
            [1 / (1 - percent / 100) for percent in ticks], [f"{percent:g} %" for percent in ticks]
        )
        axes.set_xticks([], minor=True)
        _use_milliseconds(axes)
        axes.legend()

    return _svg("percentiles", paint)


def _plot_over_time(
    axes: Axes,
    intervals: Sequence[Interval],
    lines: Mapping[str, Sequence[float]],
    *,
    is_latency: bool = False,
) -> None:
    """Plots the lines, latencies on a logarithmic scale, and shades the warm-up."""
    middles = [interval.since_s + interval.length_s / 2 for interval in intervals]
    start_s, end_s = intervals[0].since_s, intervals[-1].since_s + intervals[-1].length_s
    for name, values in lines.items():
        axes.plot(middles, values, marker=".", markevery=_marked(values), label=printable(name))
    if start_s < 0:
        axes.axvspan(start_s, min(0.0, end_s), color="#eceef1", linewidth=0, label="warm-up")
    axes.set_xlim(start_s, end_s)
    axes.set_xlabel("seconds")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    if is_latency:
        _use_milliseconds(axes)
    else:
        axes.set_ylabel("per second")
        axes.set_ylim(0)


def _marked(values: Sequence[float]) -> list[int]:
    """Returns the points that need a mark: all where they are few, else those without a neighbour."""
    padded = [nan, *values, nan]
    return [
        index
        for index in range(len(values))
        if len(values) <= _MAX_MARKED_POINTS or (isnan(padded[index]) and isnan(padded[index + 2]))
    ]


def _use_milliseconds(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _position: f"{value:,.6g}"))
    axes.yaxis.set_minor_formatter(FuncFormatter(lambda value, _position: _minor_label(value)))
    axes.set_ylabel("milliseconds")


def _minor_label(value: float) -> str:
    """Returns the label of a minor tick: 2 and 5 have one, other digits none."""
    return f"{value:,.6g}" if f"{value:e}"[0] in "25" else ""


def _svg(name: str, paint: Callable[[Axes], None]) -> Markup:
    """Returns a chart as an element of a page; `name` keeps its ids apart from those of other charts."""
    with mpl.style.context(["default", _STYLE, {"svg.hashsalt": name}]):
        figure = Figure()
        paint(figure.add_subplot())
        content = io.StringIO()
        figure.savefig(content, format="svg", transparent=True, metadata=_NO_METADATA)
    svg = content.getvalue()
    return Markup(_NAMES.sub(rf"\g<1>{name}-", _NOT_FOR_PAGES.sub("", svg[svg.index("<svg") :])))  # noqa: S704 - matplotlib escapes text
