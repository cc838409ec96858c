"""The summary of a run: its numbers, and the remarks that qualify them."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from unrolled_loadtest.report.formatting import milliseconds
from unrolled_loadtest.report.summary import (
    Remark,
    conditions,
    facts,
    headline,
    latency_rows,
    mean_parts,
    remarks,
    search_result,
    trial_row,
)

from tests.support.loadtest.records import RECORDS, any_records, merged, record_of


def remarks_on(name):
    """Returns the remarks on a record as (is_bad, text)."""
    return [(remark.is_bad, remark.text) for remark in remarks(record_of(name))]


@pytest.mark.parametrize("name", ["usual", "paused", "long", "found"])
def test_a_sound_run_needs_no_remark(name):
    assert remarks_on(name) == []


def test_a_wrong_bit_is_the_first_remark_and_shows_the_request():
    (is_bad, text), (_, gone) = remarks_on("failing")
    assert is_bad
    assert text.startswith("1 answer of 9,000 differed in bits")
    assert '"<b>hello</b>"' in text
    assert "went away" in gone


def test_a_result_bounded_by_the_generator_has_a_remark_with_the_reason():
    (is_bad, text), (is_care_bad, behind) = remarks_on("saturated")
    assert is_bad
    assert "Bounded by the generator" in text
    assert "97 % of its core" in text
    assert not is_care_bad
    assert behind.startswith("The generator or the server fell behind: 43.7 % of what was due")


def test_the_remark_distinguishes_a_slow_server_from_a_slow_generator():
    generator = replace(record_of("saturated").generator, bound_by=None)
    (remark,) = remarks(replace(record_of("saturated"), generator=generator))
    assert remark.text.startswith("The server fell behind")


def test_an_interrupted_run_has_a_remark():
    assert remarks_on("interrupted") == [(False, "Interrupted: 5 s were measured.")]
    assert remarks_on("interrupted_in_warmup") == [(False, "Interrupted: the warm-up was not over.")]


def test_a_run_without_answers_has_a_remark():
    assert (True, "No request was answered.") in remarks_on("unanswered")


def test_latencies_without_answers_are_explained():
    record = replace(record_of("unanswered"), latency=record_of("short").latency)
    text = "No request was answered; the latencies are of those that waited in vain."
    assert Remark(is_bad=True, text=text) in remarks(record)


def test_answers_after_the_measurement_do_not_count_as_achieved():
    record = record_of("drained")
    assert not any("No request was answered" in text for _, text in remarks_on("drained"))
    assert facts(record)["requests"] == "20 due, 20 sent, 20 answered (20 after the measurement), 0 errors"
    assert facts(record)["rate"] == "20.0/s offered, 0.0/s achieved (0 %)"


def test_unanswered_requests_have_a_remark():
    record = replace(record_of("short"), answered_count=237, unanswered_count=3)
    assert facts(record)["requests"] == "240 due, 240 sent, 237 answered, 0 errors, 3 unanswered"


def test_a_run_that_the_generator_ended_has_a_remark_with_the_reason():
    ((is_bad, text),) = remarks_on("generator_failed")
    assert is_bad
    assert text.startswith("The run ended after 5 s: a process of the generator ended with signal 9;")
    assert text.endswith("What a failed process had not reported is in no number.")


def test_an_unreachable_server_has_a_remark_with_the_result_of_the_last_check():
    (_, text), *_ = [
        (remark.is_bad, remark.text)
        for remark in remarks(replace(record_of("usual"), ending="server gone", reason="x is unavailable"))
    ]
    assert text == "The server went away; this is what was measured until then, 60 s. x is unavailable"


def test_a_percentile_of_too_few_durations_has_a_remark():
    assert remarks_on("short") == [(False, "240 durations: too few for p99.9, which is the longest of them.")]
    enough = record_of("usual").intervals[:4]
    assert "too few" not in str(remarks(replace(record_of("usual"), latency=two_of(enough))))


def two_of(intervals):
    """Returns 1,000 durations, one of which is beyond p99.9."""
    return merged(interval.latency for interval in intervals[2:4])


def test_a_closed_loop_has_a_note_on_coordinated_omission():
    (_, text), *others = remarks_on("closed")
    assert "Closed loop" in text
    assert others == []


@pytest.mark.parametrize("name", RECORDS)
def test_the_table_shows_the_histograms(name):
    record = record_of(name)
    rows = latency_rows(record)
    assert list(rows) == ["p50", "p90", "p99", "p99.9", "max"]
    histograms = [record.latency, record.latency_from_send, record.server_queue, record.server_compute]
    expected = histograms if record.is_open else [record.latency, *histograms[2:]]
    for row, percent in zip(rows.values(), (50, 90, 99, 99.9), strict=False):
        assert row == [milliseconds(histogram.percentile(percent)) for histogram in expected]
    assert rows["max"] == [milliseconds(histogram.max_s) for histogram in expected]


def test_the_lines_below_the_table_show_the_counts():
    assert facts(record_of("failing")) == {
        "rate": "500.0/s offered, 408.2/s achieved (81.64 %)",
        "requests": "11,500 due, 11,500 sent, 9,389 answered, 2,111 errors",
        "errors": (
            "UNAVAILABLE 1,500 (13.04 %), RESOURCE_EXHAUSTED 520 (4.52 %), DEADLINE_EXCEEDED 91 (0.79 %)"
        ),
        "sending": "none more than 1 ms late, 38 never sent",
        "answers": "9,000 compared, of 128 different requests: 1 with other bits",
        "generator": "2 processes, the busiest 31 % of a core; echo ceiling 4,830/s",
    }


def test_skipped_checks_are_not_reported():
    told = facts(record_of("closed"))
    assert told["answers"] == "not compared"
    assert told["generator"] == "1 process, the busiest 20 % of a core; not calibrated"
    assert facts(record_of("unanswered"))["answers"] == "none to compare"


def test_the_load_and_the_machine_have_one_line_each():
    assert headline(record_of("paused")) == "constant, 500/s · unary · 60 s after 2 s of warm-up"
    assert conditions(record_of("paused")) == {
        "load": "words 3 a request, by frequency from a built-in list · hidden_size 16 · seed 1",
        "server": "127.0.0.1:50051 · version 0.1.0 · device cpu · fingerprint 5f3a9c21",
        "machine": "processor 2 cores, x86_64 · memory 8 GiB · system Linux 6.1",
    }


def test_mean_latency_is_the_sum_of_its_parts():
    record = record_of("paused")
    parts = mean_parts(record)
    assert list(parts) == ["before the send", "network and client", "server queue", "server compute"]
    assert sum(parts.values()) == pytest.approx(record.latency.mean_s)
    assert parts["server compute"] == record.server_compute.mean_s
    assert mean_parts(record_of("unanswered")) == {}


def test_a_closed_loop_has_no_delay_before_the_send():
    parts = mean_parts(record_of("closed"))
    assert "before the send" not in parts
    assert sum(parts.values()) == pytest.approx(record_of("closed").latency.mean_s)


def test_a_search_shows_its_target_and_its_trials():
    search = record_of("found").search
    target = "p99 under 50 ms, errors under 0.1 %."
    assert search_result(search) == f"2,250/s is the highest rate found that meets the target: {target}"
    assert trial_row(search.trials[3]) == ["4,000/s", "2,418/s", "1,400", "0.4 %", "missed"]
    assert search_result(record_of("not_found").search) == f"No rate that was tried met the target: {target}"


@given(any_records())
def test_every_record_has_a_summary(record):
    told = [headline(record), *conditions(record).values(), *facts(record).values()]
    assert all(isinstance(line, str) and not re.search(r"\bnan\b", line) for line in facts(record).values())
    assert all(told[:1])
    assert len(remarks(record)) <= 8
