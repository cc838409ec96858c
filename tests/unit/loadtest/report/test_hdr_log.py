"""The files are what the public readers of HdrHistogram's formats read."""

import re
from datetime import datetime

import pytest
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader
from hypothesis import given
from unrolled_loadtest.report.hdr_log import distribution, log
from unrolled_loadtest.results.histogram import HIGHEST_US, LOWEST_US, SIGNIFICANT_DIGITS, Latencies

from tests.support.loadtest.records import RECORDS, any_records, record_of


def read(path):
    """The log's histograms, read by the library."""
    reader = HistogramLogReader(str(path), HdrHistogram(LOWEST_US, HIGHEST_US, SIGNIFICANT_DIGITS))
    try:
        return list(iter(reader.get_next_interval_histogram, None))
    finally:
        reader.close()


@pytest.mark.parametrize("name", RECORDS)
def test_the_library_reads_the_same_percentiles(name, tmp_path):
    """All of a log's intervals together are the run, without its warm-up."""
    record = record_of(name)
    (tmp_path / "run.hlog").write_bytes(log(record))
    whole = Latencies.merged(map(Latencies, read(tmp_path / "run.hlog")))
    assert whole.count == record.latency.count
    if whole.count:
        for percent in (50, 90, 99, 99.9, 100):
            assert whole.percentile(percent) == record.latency.percentile(percent)


def test_every_interval_has_its_time(tmp_path):
    """Since the epoch, in milliseconds, as the library tells it."""
    record = record_of("paused")
    (tmp_path / "run.hlog").write_bytes(log(record))
    started_ms = datetime.fromisoformat(record.started_at).timestamp() * 1e3
    for interval, histogram in zip(record.measured, read(tmp_path / "run.hlog"), strict=True):
        assert histogram.get_start_time_stamp() == pytest.approx(started_ms + interval.since_s * 1e3)
        assert histogram.get_end_time_stamp() - histogram.get_start_time_stamp() == pytest.approx(1_000)


def test_the_lines_are_those_of_the_format(tmp_path):
    (tmp_path / "run.hlog").write_bytes(log(record_of("paused")))
    version, command, start, base, legend, first, *_ = (tmp_path / "run.hlog").read_text().splitlines()
    assert version == "#[Histogram log format version 1.3]"
    assert "unrolled load --rate 500" in command
    assert re.fullmatch(
        r"#\[StartTime: 1793883787\.250 \(seconds since epoch\), 2026-11-05T14:03:07.*\]", start
    )
    assert base == "#[BaseTime: 1793883787.250 (seconds since epoch)]"
    assert legend == '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"'
    assert re.fullmatch(r"0\.000,1\.000,20\d\.\d{3},HISTFAAA\S+", first)


@given(any_records())
def test_whatever_a_command_holds_is_one_line_of_comment(tmp_path_factory, record):
    path = tmp_path_factory.mktemp("logs") / "run.hlog"
    path.write_bytes(log(record))
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not line.startswith(("#", '"'))] == lines[5:]
    assert len(lines[5:]) == len(record.measured)


def test_a_distribution_has_the_percentiles_and_the_count(tmp_path):
    """In microseconds, in the columns that HdrHistogram's plotter reads."""
    record = record_of("paused")
    (tmp_path / "run.hgrm").write_bytes(distribution(record))
    head, _, *lines = (tmp_path / "run.hgrm").read_text().splitlines()
    assert head.split() == ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]
    rows = [line.split() for line in lines if not line.startswith("#")]
    for value, percentile, count, *_ in rows:
        assert float(value) == pytest.approx(record.latency.percentile(100 * int(count) / 30_000) * 1e6)
        assert int(count) >= float(percentile) * 30_000 - 1e-3
    assert int(rows[-1][2]) == record.latency.count
    assert re.search(r"#\[Max\s+=\s+20\d{4}\.000, TotalCount\s+=\s+30000\.000\]", "\n".join(lines))


def test_a_run_without_answers_is_a_distribution_too():
    assert b"TotalCount     =        0.000" in distribution(record_of("unanswered"))
