"""Terminal output: the record's numbers within the width, with and without colours."""

import io
import re

import pytest
from hypothesis import given
from rich.console import Console
from rich.text import Text
from unrolled.entry_points import escape_output
from unrolled_loadtest.report.formatting import milliseconds
from unrolled_loadtest.report.summary import facts, latency_rows, remarks
from unrolled_loadtest.report.terminal import LiveView, live_view, show

from tests.support.loadtest.records import RECORDS, any_records, merged, record_of


def terminal(*, width=80, **options):
    """Returns a console that writes to memory."""
    return Console(file=io.StringIO(), width=width, legacy_windows=False, **options)


def lines_of(console):
    """Returns the text of each line, without colours."""
    return [Text.from_ansi(line).plain.rstrip() for line in console.file.getvalue().splitlines()]


def shown(record, **options):
    console = terminal(**options)
    show(record, console=console)
    return lines_of(console)


def words(text):
    return " ".join(text.split())


@pytest.mark.parametrize("name", RECORDS)
def test_the_final_tables_have_the_records_numbers(name):
    record = record_of(name)
    lines = shown(record)
    for row, cells in latency_rows(record).items():
        assert [row, *cells] in [line.split() for line in lines]
    text = words(" ".join(lines))
    for fact in facts(record).values():
        assert words(fact) in text


@pytest.mark.parametrize("name", RECORDS)
def test_output_fits_80_columns_with_and_without_colours(name):
    """The words are the same in both."""
    plain, coloured = (
        shown(record_of(name), force_terminal=is_terminal, color_system=colors)
        for is_terminal, colors in ((False, None), (True, "truecolor"))
    )
    assert plain == coloured
    assert max(map(len, plain)) <= 80


def test_warnings_come_last_and_are_marked_as_warnings():
    lines = shown(record_of("saturated"))
    start = next(index for index, line in enumerate(lines) if line.startswith("warning: Bounded by"))
    rest = words(" ".join(lines[start:]))
    assert rest == words(" ".join(f"{kind}: {text}" for kind, text in tagged(record_of("saturated"))))


def tagged(record):
    return [("warning" if remark.is_bad else "note", remark.text) for remark in remarks(record)]


def test_a_search_is_a_table_with_its_outcome_below():
    lines = shown(record_of("found"))
    head = next(index for index, line in enumerate(lines) if line.startswith("offered "))
    assert lines[head].split() == ["offered", "achieved", "p99", "ms", "errors", "target"]
    trials = [line.split() for line in lines[head + 2 : head + 10]]
    assert [trial[-1] for trial in trials] == ["met"] * 3 + ["missed"] * 3 + ["met", "missed"]
    assert lines[head + 11].startswith("2,250/s is the highest rate found")


@given(any_records())
def test_no_record_breaks_the_tables_or_moves_the_cursor(record):
    console = terminal(force_terminal=False)
    show(record, console=console)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", console.file.getvalue())


def test_without_a_terminal_there_is_no_live_view(capsys):
    with live_view("a run", 5.0) as view:
        for interval in record_of("short").intervals:
            view.update(interval)
    assert capsys.readouterr() == ("", "")


def frame(name, count, **options):
    """Returns the live view after a number of intervals."""
    record, console = record_of(name), terminal(**options)
    view = LiveView("constant, 500/s · unary", record.duration_s)
    for interval in record.intervals[:count]:
        view.update(interval)
    console.print(view)
    return lines_of(console)


LATENCIES = ["p50", "ms", "p99", "ms", "p99.9", "ms", "max", "ms"]


def test_the_live_view_shows_the_last_second_and_the_totals():
    record = record_of("failing")
    title, _, head, last, so_far, state, course = frame("failing", 20)
    assert title == f"{'constant, 500/s · unary':68}0:18 of 0:23"
    assert head.split() == ["offered", "achieved", *LATENCIES, "errors"]
    interval, latency = record.intervals[19], merged(i.latency for i in record.intervals[2:20])
    assert last.split() == ["last", "1", "s", "500.0/s", "453.0/s", *percentiles(interval.latency), "47"]
    assert so_far.split() == ["so", "far", "500.0/s", "471.3/s", *percentiles(latency), "517"]
    assert state == "in flight 1 · 0 requests late · generator 31 % of a core"
    assert re.fullmatch(r"p99 ▁{9}[▇█]{11} up to \d\d\.\d ms", course)


def percentiles(latency):
    return [milliseconds(value) for value in (*map(latency.percentile, (50, 99, 99.9)), latency.max_s)]


def test_the_live_view_marks_the_warm_up():
    lines = frame("paused", 1)
    assert lines[0].endswith("warm-up, 0:01 to go")
    assert not any(line.startswith("so far") for line in lines)


def test_a_second_without_an_answer_is_a_gap():
    *_, last, _, _, course = frame("unanswered", 3)
    assert last.split() == ["last", "1", "s", "500.0/s", "0.0/s", "-", "-", "-", "-", "500"]
    assert course == "p99     up to - ms"


def test_a_long_run_fits_the_width():
    for width in (60, 80, 200):
        assert all(len(line) <= width for line in frame("long", 300, width=width))


def test_an_ascii_terminal_shows_only_the_tables(monkeypatch):
    """Characters that it cannot show end neither the run nor its report."""
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", file)
    with live_view("a run", 5.0, console=Console(file=file, force_terminal=True)) as view:
        view.update(record_of("short").intervals[0])
    assert file.buffer.getvalue() == b""
    escape_output()  # as the command does
    show(record_of("short"))
    file.flush()
    assert b"constant, 240/s - unary" in file.buffer.getvalue()


class Gone(io.StringIO):
    """A terminal that closes after its first output."""

    def write(self, text):
        if self.tell():
            raise OSError(5, "Input/output error")
        return super().write(text)


def test_a_closed_terminal_does_not_end_the_run():
    console = Console(file=Gone(), force_terminal=True, width=80)
    with live_view("a run", 5.0, console=console) as view:
        for interval in record_of("usual").intervals[:3]:
            view.update(interval)


def test_the_live_view_clears_itself_and_passes_exceptions_on():
    console = terminal(force_terminal=True)

    def interrupted():
        with live_view("a run", 5.0, console=console) as view:
            view.update(record_of("short").intervals[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert console.file.getvalue().endswith("\x1b[2K")
