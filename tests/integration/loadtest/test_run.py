"""Complete runs against servers with one fault each, which the record must show."""

import json
import signal
import subprocess
import sys

import numpy as np
import psutil
import pytest
from unrolled_client import InvalidRequestError, UnavailableError
from unrolled_loadtest.interrupts import Interrupts
from unrolled_loadtest.report.raw_log import RawLog
from unrolled_loadtest.run import run

from tests.support.loadtest.doubles import PAUSE_S, PERIOD_S, double_process
from tests.support.loadtest.plans import closed_plan, open_plan, request_mix
from tests.support.loadtest.records import decoded

pytestmark = pytest.mark.load

TRANSPORTS = ("unary", "stream", "merged")


@pytest.fixture(scope="module")
def echo():
    with double_process("echo") as process:
        yield process.target


def read_log(path):
    """Returns due, sent and done times, and the codes."""
    lines = [line.split("\t") for line in path.read_text().splitlines()[1:]]
    return np.array([list(map(float, line[:3])) for line in lines]), [line[3] for line in lines]


def adds_up(record):
    """Returns whether totals and intervals count the same requests."""
    assert record.offered_count == record.sent_count + record.unsent_count
    assert record.sent_count == record.answered_count + record.error_count + record.unanswered_count
    waited_count = record.error_counts.get("DEADLINE_EXCEEDED", 0) + record.unanswered_count
    assert record.latency.count == record.answered_count + waited_count + record.unsent_count
    measured = [interval for interval in record.intervals if interval.since_s >= 0]
    before, after = record.from_warmup, record.after_end
    assert sum(interval.offered_count for interval in measured) == record.offered_count
    assert sum(interval.sent_count for interval in measured) == record.sent_count
    assert sum(interval.latency.count for interval in measured) == record.latency.count
    answered_count = sum(interval.answered_count for interval in measured)
    assert answered_count == record.answered_count - after.answered_count + before.answered_count
    error_count = sum(sum(interval.error_counts.values()) for interval in measured)
    assert error_count == record.error_count - after.error_count + before.error_count
    return True


def compared_all(record):
    """Returns whether each answer, also of the warm-up, was compared or was the first to its request."""
    warmup = [interval for interval in record.intervals if interval.since_s < 0]
    warmup_count = sum(interval.answered_count for interval in warmup) + record.from_warmup.answered_count
    found = record.verification
    return found.checked_count + found.distinct_count == record.answered_count + warmup_count


@pytest.mark.parametrize(
    ("transport", "arrivals"),
    [("unary", "constant"), ("stream", "constant"), ("merged", "constant"), ("stream", "poisson")],
)
def test_the_offered_rate_is_achieved_and_every_request_is_in_the_log(
    server_address, tmp_path, transport, arrivals
):
    """For every transport: the counts, and the percentiles to the histogram's three digits."""
    plan = open_plan(server_address, rate="200", transport=transport, arrivals=arrivals)
    seen = []
    with (tmp_path / "raw.tsv").open("wb") as file:
        log = RawLog(lambda: file)
        record = run(plan, seen.append, raw_log=log)
        log.end()
    times, codes = read_log(tmp_path / "raw.tsv")
    due_s, sent_s, done_s = times[times[:, 0] >= 0].T
    assert adds_up(record)
    assert (record.ending, record.error_count, record.unsent_count) == ("done", 0, 0)
    assert set(codes) == {"OK"}
    assert record.offered_count == len(due_s)
    assert compared_all(record)
    assert record.answered_count == record.offered_count
    assert record.after_end.answered_count == (done_s > 1.0).sum()
    assert record.late_count == (sent_s - due_s > 1e-3).sum()
    for latencies, durations in (
        (record.latency, done_s - due_s),
        (record.latency_from_send, done_s - sent_s),
    ):
        for percent in (50, 90, 99, 100):
            expected = np.percentile(durations, percent, method="inverted_cdf")
            assert latencies.percentile(percent) == pytest.approx(expected, rel=2e-3, abs=2e-6)
    assert [interval.since_s for interval in seen] == [-0.3, 0.0]
    assert record.verification.checked_count > 0
    assert record.verification.differing_count == 0
    assert record.server["fingerprint"]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_closed_loop_keeps_its_number_of_requests_in_flight(server_address, transport):
    plan = closed_plan(server_address, concurrency=5, transport=transport)
    seen = []
    record = run(plan, seen.append)
    assert adds_up(record)
    assert compared_all(record)
    assert not record.is_open
    assert record.answered_count > 50
    assert (record.late_count, record.error_count) == (0, 0)
    assert all(interval.in_flight_count <= 5 for interval in seen)


@pytest.mark.parametrize("transport", ["unary", "stream"])
def test_several_processes_share_a_run(echo, transport):
    """Together they send the schedule, and their answers are compared with each other."""
    plan = open_plan(echo, rate="300", transport=transport, process_count=2, stream_count=3)
    record = run(plan)
    assert adds_up(record)
    assert (record.offered_count, record.error_count) == (300, 0)
    assert record.generator.process_count == 2
    assert record.verification.distinct_count == 50
    assert record.verification.checked_count == 390 - 50


def test_a_pause_of_the_server_counts_for_all_requests_due_in_it():
    """The p99 of an open loop is the length of the pauses; a closed loop hardly shows them.

    Whatever else the machine does only lengthens waits: every run says as much as the pauses make of it, and
    one of a few says no more.
    """
    duration_s, rate = 3.0, 250
    due_s = np.arange(0, duration_s, 1 / rate)
    waits_s = np.maximum(PAUSE_S - due_s % PERIOD_S, 0)  # wherever in the second the pause is
    expected_s = np.percentile(waits_s, 99, method="inverted_cdf")
    with double_process("pause") as server:
        plan = open_plan(server.target, rate=str(rate), duration_s=duration_s)
        p99s = []
        while len(p99s) < 5 and min(p99s, default=1.0) > 1.1 * expected_s:
            p99s.append(run(plan).latency.percentile(99))
        closed_loop = run(closed_plan(server.target, concurrency=2, duration_s=duration_s))
    assert min(p99s) == pytest.approx(expected_s, rel=0.1)
    assert closed_loop.latency.percentile(99) < expected_s / 2


@pytest.mark.parametrize("transport", ["unary", "stream"])
def test_one_bit_in_thousands_of_replies_is_found(transport):
    with double_process("flip=1500") as server:
        record = run(closed_plan(server.target, concurrency=16, duration_s=4.0, transport=transport))
    found = record.verification
    assert found.checked_count > 1_500
    assert found.differing_count == 1
    assert len(json.loads(found.first_differing)["words"]) == 3


@pytest.mark.parametrize("transport", ["unary", "stream"])
def test_refusals_are_counted_by_code_and_are_in_no_latency(transport):
    with double_process("fail=4") as server:
        record = run(open_plan(server.target, rate="200", transport=transport))
    assert adds_up(record)
    assert compared_all(record)
    refused = record.error_counts.pop("RESOURCE_EXHAUSTED")
    assert record.error_counts == {}
    assert refused == pytest.approx(50, abs=2)
    assert record.latency.count == record.offered_count - refused
    assert record.verification.differing_count == 0


@pytest.mark.parametrize("transport", ["unary", "stream"])
def test_replies_written_by_plain_protobuf_are_compared(transport):
    """Their ids and times lie among the other fields and differ; the compared part does not."""
    with double_process("plain") as server:
        record = run(open_plan(server.target, rate="100", transport=transport))
    assert record.verification.checked_count > 50
    assert (record.verification.differing_count, record.error_count) == (0, 0)
    assert record.server_queue.count == record.offered_count


@pytest.mark.parametrize("transport", ["unary", "stream"])
def test_requests_that_are_never_answered_count(transport):
    """Those above the limit are not sent; the others wait for the end of the run or their deadline."""
    fault = "mute" if transport == "unary" else "hush"
    with double_process(fault) as server:
        more = {"transport": transport, "max_in_flight": 30, "drain_s": 0.2}
        waiting = run(open_plan(server.target, rate="100", **more))
        expired = run(open_plan(server.target, duration_s=3.0, warmup_s=0.0, timeout_s=0.3, **more))
    assert adds_up(waiting)
    assert (waiting.answered_count, waiting.error_count, waiting.unsent_count) == (0, 0, 100)
    assert waiting.latency.count == 100
    assert waiting.latency.max_s >= 1.2
    assert adds_up(expired)
    assert expired.error_counts["DEADLINE_EXCEEDED"] >= 30  # those that the bound let out first
    assert expired.latency.count == expired.offered_count
    assert expired.late_count > 0


def test_answers_after_the_measurement_do_not_count_as_achieved():
    """Waiting for its queue must not make a slow server look as if it kept up."""
    with double_process("slow") as server:
        record = run(open_plan(server.target, rate="100"))
    assert adds_up(record)
    assert record.answered_count - record.after_end.answered_count < 50
    assert record.achieved_per_s < 50
    assert record.after_end.answered_count > 0
    assert record.latency.count == record.offered_count
    assert record.latency.max_s > 1


@pytest.mark.parametrize("transport", ["unary", "stream"])
def test_a_server_that_dies_ends_the_run_with_what_was_measured(transport, monkeypatch):
    monkeypatch.setattr("unrolled_loadtest.run.GONE_AFTER_S", 2)
    with double_process("echo") as server:

        def kill(interval):
            if interval.since_s == 0.0:
                server.kill()

        record = run(open_plan(server.target, rate="100", duration_s=60.0, transport=transport), kill)
    assert adds_up(record)
    assert record.ending == "server gone"
    assert 2 < record.duration_s < 60
    assert record.answered_count > 50
    assert record.error_counts["UNAVAILABLE"] > 100  # 100 a second for two seconds and more
    assert record.verification.differing_count == 0


def test_an_absent_server_is_reported():
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1 is unavailable"):
        run(open_plan("127.0.0.1:1"))


def test_a_server_that_is_gone_at_the_end_is_reported():
    """Also if it was gone for less than the time after which a run is ended."""
    with double_process("echo") as server:

        def kill(interval):
            if interval.since_s == 0.0:
                server.kill()
                server.wait()

        record = run(open_plan(server.target, rate="100", duration_s=4.0), kill)
    assert adds_up(record)
    assert (record.ending, record.duration_s) == ("server gone", 4.0)
    assert "is unavailable" in record.reason


@pytest.mark.parametrize("process_count", [1, 2])
def test_a_process_that_is_killed_leaves_a_record_of_what_was_measured(echo, process_count):
    """The run then ends the other processes, which report their measurements."""
    before = set(psutil.Process().children())

    def kill(interval):
        if interval.since_s == 1.0:
            (set(psutil.Process().children()) - before).pop().kill()

    record = run(open_plan(echo, rate="100", duration_s=60.0, process_count=process_count), kill)
    assert adds_up(record)
    assert record.ending == "generator failed"
    assert "signal 9" in record.reason
    assert 2 <= record.duration_s < 60
    assert record.answered_count > 0


INTERRUPTED = """
import os, signal, sys
from tests.support.loadtest.plans import open_plan
from unrolled_loadtest.run import run

def interrupt(interval):
    if interval.since_s == float(sys.argv[2]):
        os.killpg(os.getpgid(0), getattr(signal, sys.argv[3]))

record = run(open_plan(sys.argv[1], rate="100", duration_s=60.0, warmup_s=1.0), interrupt)
print(record.ending, record.duration_s, record.offered_count, len(record.intervals))
"""


@pytest.mark.parametrize(
    ("name", "at_s"), [("SIGINT", -1.0), ("SIGINT", 1.0), ("SIGTERM", 1.0), ("SIGHUP", 1.0)]
)
def test_a_signal_to_all_processes_ends_a_run_at_once_with_what_was_measured(echo, name, at_s):
    """During the measurement and, without a result, during the warm-up."""
    command = [sys.executable, "-c", INTERRUPTED, echo, str(at_s), name]
    done = subprocess.run(command, capture_output=True, text=True, check=True, start_new_session=True)
    ending, duration_s, offered_count, interval_count = done.stdout.split()
    assert done.stderr == ""
    assert ending == "interrupted"
    assert at_s + 1 <= float(duration_s) < at_s + 10
    assert int(offered_count) == pytest.approx(100 * float(duration_s), abs=5)
    assert int(interval_count) >= at_s + 2


class InterruptedAtOnce(Interrupts):
    """Sends the first signal as early as possible, usually before the first request is due."""

    def during_load(self, act):
        super().during_load(act)
        act()


@pytest.mark.parametrize("warmup_s", [0.0, 1.0])
def test_a_signal_before_the_first_request_leaves_a_record(echo, warmup_s):
    with InterruptedAtOnce() as interrupts:
        record = run(open_plan(echo, duration_s=60.0, warmup_s=warmup_s), interrupts=interrupts)
    assert adds_up(record)
    assert record.ending == "interrupted"


def test_a_missing_file_is_named(echo, tmp_path):
    plan = open_plan(echo, request_mix=request_mix(words_file=tmp_path / "gone.txt"))
    with pytest.raises(InvalidRequestError, match=r"gone\.txt cannot be read: No such file"):
        run(plan)


def test_hdr_tools_read_a_recorded_histogram(echo):
    record = run(open_plan(echo, rate="100"))
    assert decoded(record.latency.encoded()).count == record.latency.count


def test_no_process_and_no_signal_handler_is_left(echo):
    """No worker process outlives its run, and the handler of SIGINT is restored."""
    before = set(psutil.Process().children())
    run(open_plan(echo, rate="100", process_count=2))
    assert set(psutil.Process().children()) <= before
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
