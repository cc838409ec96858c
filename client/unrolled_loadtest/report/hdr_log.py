"""Latencies in the two files of HdrHistogram's own tools: a log of intervals, and a percentile distribution.

The lines are written here because the library's writer cannot write a start time, takes a time of 0 for none,
and cuts the maximum to whole units.
"""

from collections.abc import Iterator
from datetime import datetime
from io import BytesIO

from unrolled_client.cli.printable import printable

from unrolled_loadtest.results.record import Interval, Record

DISTRIBUTION = ".hgrm"
"""The ending of files that hold a distribution instead of a log."""
_LEGEND = '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"'


def log(record: Record) -> bytes:
    """Returns a log of latency from the intended times, in microseconds, an interval a line.

    The warm-up is not in it, because readers add up all intervals.
    """
    return "".join(f"{line}\n" for line in _lines(record)).encode()


def distribution(record: Record) -> bytes:
    """Returns the percentiles of latency from the intended times, in microseconds, without the warm-up."""
    content = BytesIO()
    record.latency.histogram.output_percentile_distribution(
        content, 1
    )  # unscaled: it never scales the deviation
    return content.getvalue()


def _lines(record: Record) -> Iterator[str]:
    started_at = datetime.fromisoformat(record.started_at)
    start = f"{started_at.timestamp():.3f} (seconds since epoch)"
    yield "#[Histogram log format version 1.3]"
    yield f"#[Microseconds from the intended time: {printable(record.command)}]"
    yield f"#[StartTime: {start}, {started_at.isoformat()}]"
    yield f"#[BaseTime: {start}]"
    yield _LEGEND
    for interval in record.measured:
        yield _line(interval)


def _line(interval: Interval) -> str:
    """When it began, how long it was, its maximum in milliseconds, and its histogram."""
    max_ms = interval.latency.max_s * 1e3 if interval.latency.count else 0.0
    return f"{interval.since_s:.3f},{interval.length_s:.3f},{max_ms:.3f},{interval.latency.encoded()}"
