"""Shows a run in the terminal: live during the run, as tables at the end."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from math import isnan, nan

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text
from unrolled_client._display.printable import printable

from unrolled_loadtest.report.formatting import clock, counted, length, milliseconds, rate
from unrolled_loadtest.report.summary import (
    conditions,
    core_share,
    facts,
    headline,
    latency_columns,
    latency_rows,
    remarks,
    search_result,
    trial_columns,
    trial_row,
)
from unrolled_loadtest.results.histogram import Latencies
from unrolled_loadtest.results.record import Interval, Record, Search

_BLOCKS = "▁▂▃▄▅▆▇█"
_GAP = " "
_COURSE_TEXT = 22  # columns of text beside the blocks
_LIVE_PERCENTS = (50, 99, 99.9)
_NAME, _BAD, _NOTE, _GOOD = "dim", "bold red", "yellow", "green"


@contextmanager
def live_view(title: str, total_s: float, *, console: Console | None = None) -> Iterator["LiveView"]:
    """Shows a run of `total_s` without its warm-up on standard error, if that is a terminal beyond ASCII."""
    console = console or Console(stderr=True)
    view = LiveView(title, total_s)
    if not console.is_terminal or console.options.ascii_only:
        yield view
        return
    # No refresh thread: it would wake up beside processes that keep time.
    shown = Live(view, console=console, auto_refresh=False, transient=True)
    view.on_update = partial(_try, shown.refresh, view)
    _try(partial(shown.start, refresh=True), view)
    try:
        yield view
    finally:
        _try(shown.stop, view)


def _try(act: Callable[[], None], view: "LiveView") -> None:
    """Stops the view, not the run, once the terminal is gone."""
    try:
        act()
    except OSError:
        view.on_update = lambda: None


class LiveView:
    """The run so far, as a renderable of rich. Not thread-safe."""

    def __init__(self, title: str, total_s: float) -> None:
        self.on_update: Callable[[], None] = lambda: None
        self._title = printable(title)
        self._total_s = total_s
        self._last: Interval | None = None
        self._length_s = 0.0
        self._latency = Latencies()
        self._counts: Counter[str] = Counter()
        self._p99s: list[float] = []

    def update(self, interval: Interval) -> None:
        """Adds an interval that has ended, and shows it."""
        self._last = interval
        self._p99s.append(interval.latency.percentile(99))
        if interval.since_s >= 0:
            self._length_s += interval.length_s
            self._latency.add(interval.latency)
            self._counts.update(_counts(interval))
        self.on_update()

    def __rich_console__(self, console: Console, _options: ConsoleOptions) -> RenderResult:
        yield self._top(console.width)
        if self._last is None:
            return
        yield self._table(self._last)
        busy = f"generator {core_share(self._last.generator_busy)}"
        late = counted(self._counts["late"], "request")
        yield Text(f"in flight {self._last.in_flight_count:,} · {late} late · {busy}", overflow="ellipsis")
        yield self._course(console.width)

    def _top(self, width: int) -> Group:
        """Returns the title and the progress."""
        ended_s = 0.0 if self._last is None else self._last.since_s + self._last.length_s
        at = f"{clock(ended_s)} of {clock(self._total_s)}"
        if ended_s < 0:
            at = f"warm-up, {clock(-ended_s)} to go"
        title = Text(self._title, style="bold", no_wrap=True)
        title.truncate(max(width - len(at) - 1, 1), overflow="ellipsis", pad=True)
        bar = ProgressBar(self._total_s, max(ended_s, 0.0), width=width, complete_style="blue")
        return Group(Text.assemble(title, " ", at), Padding(bar, 0))  # a bar alone does not end its line

    def _table(self, last: Interval) -> Table:
        percentiles = (f"p{percent:g} ms" for percent in _LIVE_PERCENTS)
        columns = _right_aligned("offered", "achieved", *percentiles, "max ms", "errors")
        table = Table("", *columns, box=None, pad_edge=False, header_style=_NAME)
        table.add_row(
            f"last {length(last.length_s)}", *_live_cells(_counts(last), last.length_s, last.latency)
        )
        if self._length_s:
            table.add_row("so far", *_live_cells(self._counts, self._length_s, self._latency))
        return table

    def _course(self, width: int) -> Text:
        """Returns the p99 of the last intervals as a line of blocks."""
        shown = self._p99s[-(width - _COURSE_TEXT) :]
        highest = max((p99 for p99 in shown if not isnan(p99)), default=nan)
        return Text.assemble(("p99 ", _NAME), sparkline(shown), (f" up to {milliseconds(highest)} ms", _NAME))


def sparkline(values: Sequence[float]) -> str:
    """Returns a block for each value, as high as its share of the largest; a gap for NaN.

    >>> sparkline([0, 1, float("nan"), 8])
    '▁▂ █'
    """
    highest = max((value for value in values if not isnan(value)), default=0) or 1
    return "".join(
        _GAP if isnan(value) else _BLOCKS[min(int(value / highest * len(_BLOCKS)), len(_BLOCKS) - 1)]
        for value in values
    )


def _counts(interval: Interval) -> dict[str, int]:
    return {
        "offered": interval.offered_count,
        "answered": interval.answered_count,
        "errors": sum(interval.error_counts.values()),
        "late": interval.late_count,
    }


def _live_cells(counts: Mapping[str, int], length_s: float, latency: Latencies) -> list[Text]:
    errors = Text(f"{counts['errors']:,}", style=_BAD if counts["errors"] else "")
    numbers = [
        rate(counts["offered"] / length_s),
        rate(counts["answered"] / length_s),
        *(milliseconds(latency.percentile(percent)) for percent in _LIVE_PERCENTS),
        milliseconds(latency.max_s),
    ]
    return [*map(Text, numbers), errors]


def show(record: Record, *, console: Console | None = None) -> None:
    """Prints the final tables to standard output; remarks come last, where they are seen."""
    console = console or Console()
    console.print(Text(printable(headline(record)), style="bold"))
    console.print(_lines(conditions(record)))
    console.print()
    console.print(_latency_table(record))
    console.print()
    console.print(_lines(facts(record)))
    if record.search is not None:
        console.print()
        console.print(_trial_table(record.search))
        console.print()
        console.print(Text(search_result(record.search), style="bold"))
    for remark in remarks(record):
        console.print()
        word, style = ("warning: ", _BAD) if remark.is_bad else ("note: ", _NOTE)
        console.print(Text.assemble((word, style), (printable(remark.text), style if remark.is_bad else "")))


def _right_aligned(*heads: str) -> Iterator[Column]:
    return (Column(head, justify="right") for head in heads)


def _lines(values: Mapping[str, str]) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, value in values.items():
        table.add_row(Text(name, style=_NAME), Text(printable(value)))
    return table


def _latency_table(record: Record) -> Table:
    columns = _right_aligned(*latency_columns(record))
    table = Table("latency, ms", *columns, box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name, cells in latency_rows(record).items():
        table.add_row(name, *cells)
    return table


def _trial_table(search: Search) -> Table:
    columns = _right_aligned(*trial_columns(search))
    table = Table(*columns, box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for trial in search.trials:
        *cells, outcome = trial_row(trial)
        table.add_row(*cells, Text(outcome, style=_GOOD if trial.is_met else _NOTE))
    return table
