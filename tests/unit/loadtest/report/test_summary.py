"""What is said of a run: the numbers of the record, and what must be known before them."""

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


def said(name):
    """The remarks on a record, as (is_bad, text)."""
    return [(remark.is_bad, remark.text) for remark in remarks(record_of(name))]


@pytest.mark.parametrize("name", ["usual", "paused", "long", "found"])
def test_a_sound_run_needs_no_remark(name):
    assert said(name) == []


def test_a_wrong_bit_is_said_first_with_its_request():
    (is_bad, text), (_, gone) = said("failing")
    assert is_bad
    assert text.startswith("1 answer of 9,000 differed in bits")
    assert '"<b>hello</b>"' in text
    assert "went away" in gone


def test_a_result_that_the_generator_bounds_says_so_and_how():
    (is_bad, text), (is_care_bad, behind) = said("saturated")
    assert is_bad
    assert "Bounded by the generator" in text
    assert "97 % of its core" in text
    assert not is_care_bad
    assert behind.startswith("The generator or the server fell behind: 43.7 % of what was due")


def test_a_server_that_falls_behind_is_told_from_a_slow_generator():
    generator = replace(record_of("saturated").generator, bound_by=None)
    (remark,) = remarks(replace(record_of("saturated"), generator=generator))
    assert remark.text.startswith("The server fell behind")


def test_an_end_before_the_end_is_said():
    assert said("interrupted") == [(False, "Interrupted: 5 s were measured.")]
    assert said("interrupted_in_warmup") == [(False, "Interrupted: the warm-up was not over.")]


def test_no_answer_at_all_is_said():
    assert (True, "No request was answered.") in said("unanswered")


def test_latencies_without_an_answer_are_said_to_be_waits_in_vain():
    record = replace(record_of("unanswered"), latency=record_of("short").latency)
    text = "No request was answered; the latencies are of those that waited in vain."
    assert Remark(is_bad=True, text=text) in remarks(record)


def test_answers_after_the_measurement_are_answers_but_not_achieved():
    record = record_of("drained")
    assert not any("No request was answered" in text for _, text in said("drained"))
    assert facts(record)["requests"] == "20 due, 20 sent, 20 answered (20 after the measurement), 0 errors"
    assert facts(record)["rate"] == "20.0/s offered, 0.0/s achieved (0 %)"


def test_requests_that_had_no_answer_at_the_end_are_said():
    record = replace(record_of("short"), answered_count=237, unanswered_count=3)
    assert facts(record)["requests"] == "240 due, 240 sent, 237 answered, 0 errors, 3 unanswered"


def test_a_run_that_the_generator_ended_says_why():
    ((is_bad, text),) = said("generator_failed")
    assert is_bad
    assert text.startswith("The run ended after 5 s: a process of the generator ended with signal 9;")
    assert text.endswith("What a failed process had not reported is in no number.")


def test_a_server_that_is_gone_says_what_the_last_question_found():
    (_, text), *_ = [
        (remark.is_bad, remark.text)
        for remark in remarks(replace(record_of("usual"), ending="server gone", reason="x is unavailable"))
    ]
    assert text == "The server went away; this is what was measured until then, 60 s. x is unavailable"


def test_percentiles_without_an_answer_beyond_them_are_told_from_others():
    assert said("short") == [(False, "240 durations: too few for p99.9, which is the longest of them.")]
    enough = record_of("usual").intervals[:4]
    assert "too few" not in str(remarks(replace(record_of("usual"), latency=two_of(enough))))


def two_of(intervals):
    """1,000 durations: one is beyond p99.9."""
    return merged(interval.latency for interval in intervals[2:4])


def test_a_closed_loop_says_what_it_cannot_see():
    (_, text), *others = said("closed")
    assert "Closed loop" in text
    assert others == []


@pytest.mark.parametrize("name", RECORDS)
def test_the_table_is_the_histograms(name):
    record = record_of(name)
    rows = latency_rows(record)
    assert list(rows) == ["p50", "p90", "p99", "p99.9", "max"]
    histograms = [record.latency, record.latency_from_send, record.server_queue, record.server_compute]
    expected = histograms if record.is_open else [record.latency, *histograms[2:]]
    for row, percent in zip(rows.values(), (50, 90, 99, 99.9), strict=False):
        assert row == [milliseconds(histogram.percentile(percent)) for histogram in expected]
    assert rows["max"] == [milliseconds(histogram.max_s) for histogram in expected]


def test_the_lines_below_are_the_counts():
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


def test_what_was_not_done_is_not_claimed():
    told = facts(record_of("closed"))
    assert told["answers"] == "not compared"
    assert told["generator"] == "1 process, the busiest 20 % of a core; not calibrated"
    assert facts(record_of("unanswered"))["answers"] == "none to compare"


def test_the_load_and_the_machine_take_a_line_each():
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


def test_a_closed_loop_has_no_time_before_the_send():
    parts = mean_parts(record_of("closed"))
    assert "before the send" not in parts
    assert sum(parts.values()) == pytest.approx(record_of("closed").latency.mean_s)


def test_a_search_tells_its_target_and_its_trials():
    search = record_of("found").search
    target = "p99 under 50 ms, errors under 0.1 %."
    assert search_result(search) == f"2,250/s is the highest rate found that meets the target: {target}"
    assert trial_row(search.trials[3]) == ["4,000/s", "2,418/s", "1,400", "0.4 %", "missed"]
    assert search_result(record_of("not_found").search) == f"No rate that was tried met the target: {target}"


@given(any_records())
def test_there_are_words_for_every_record(record):
    told = [headline(record), *conditions(record).values(), *facts(record).values()]
    assert all(isinstance(line, str) and not re.search(r"\bnan\b", line) for line in facts(record).values())
    assert all(told[:1])
    assert len(remarks(record)) <= 8
