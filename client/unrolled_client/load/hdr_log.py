"""Latencies in the two files of HdrHistogram's own tools: a log of intervals, and a percentile distribution.

The lines are written here because the library's writer cannot write a start time, takes a time of 0 for none,
and cuts the maximum to whole units.
"""

from collections.abc import Iterator
from datetime import datetime
from io import BytesIO
from pathlib import Path

from unrolled_client._printable import printable
from unrolled_client.load.record import Interval, Record

DISTRIBUTION = ".hgrm"
_LEGEND = '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"'


def write(record: Record, path: Path) -> None:
    """Latency from the intended times: whole as a distribution for a path ending in .hgrm, else as a log.

    Values are microseconds. The warm-up is in neither: readers add up all that a log holds.

    Raises:
        OSError: The file cannot be written.
    """
    if path.suffix.lower() == DISTRIBUTION:
        path.write_bytes(_distribution(record))
    else:
        path.write_text("".join(f"{line}\n" for line in _log(record)), encoding="utf-8")


def _log(record: Record) -> Iterator[str]:
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


def _distribution(record: Record) -> bytes:
    """In microseconds: with a scale, the library would scale all but the deviation."""
    content = BytesIO()
    record.latency.histogram.output_percentile_distribution(content, 1)
    return content.getvalue()
