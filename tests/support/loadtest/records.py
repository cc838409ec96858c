"""Records of runs: a server that pauses, one that saturates, one that dies, and others."""

import math
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache

import numpy as np
from hdrh.histogram import HdrHistogram
from hypothesis import strategies as st
from unrolled_loadtest.results.histogram import Latencies, microseconds
from unrolled_loadtest.results.record import (
    Generator,
    Interval,
    Outcomes,
    Record,
    Search,
    Trial,
    Verification,
)

MACHINE = {"processor": "2 cores, x86_64", "memory": "8 GiB", "system": "Linux 6.1"}
SERVER = {"version": "0.1.0", "device": "cpu", "fingerprint": "5f3a9c21"}


def latencies_of(durations):
    """Returns a histogram of durations in seconds."""
    latencies = Latencies()
    latencies.record(microseconds(np.array(durations, float)))
    return latencies


def merged(parts):
    """A histogram of the durations of all parts."""
    whole = Latencies()
    for part in parts:
        whole.add(part)
    return whole


def decoded(text):
    """The histogram that was encoded as text."""
    latencies = Latencies()
    latencies._histogram = HdrHistogram.decode(text.encode())
    return latencies


class Run:
    """Makes a record from descriptions of each second of a run."""

    def __init__(self, *, rate=500, warmup_s=2, seed=0, is_open=True):
        self.rng = np.random.default_rng(seed)
        self.is_open = is_open
        self.rate = rate
        self.warmup_s = warmup_s
        self.intervals = []
        self.from_send = Latencies()

    def second(self, *, pause_s=0.0, backlog_s=0.0, errors=None, late=0, busy=0.31):
        """Adds a second: usual latencies, a pause that delays all requests in it, a queue before them."""
        since_s = len(self.intervals) - self.warmup_s
        errors = errors or {}
        answered = self.rate - sum(errors.values())
        usual = self.rng.lognormal(math.log(0.0011), 0.25, answered)
        waits = np.clip(pause_s - np.linspace(0, 1, answered, endpoint=False), 0, None)
        durations = usual + waits + backlog_s * np.linspace(0.9, 1, answered)
        # A closed loop has at most one slow sample per caller and pause.
        sent = np.where(np.arange(answered) % 100, usual, usual + pause_s) + backlog_s * 0.1
        sent = np.minimum(sent, durations)
        if since_s >= 0:
            self.from_send.add(latencies_of(sent))
        self.intervals.append(
            Interval(
                since_s=float(since_s),
                length_s=1.0,
                offered_count=self.rate,
                sent_count=self.rate,
                late_count=late,
                answered_count=int(answered / (1 + backlog_s * 0.3)),
                error_counts=errors,
                in_flight_count=int(self.rate * (backlog_s + 0.0011)) + 1,
                latency=latencies_of(durations if self.is_open else sent),
                generator_busy=busy,
            )
        )
        return self

    def record(self, **changes):
        """Returns the record of the run so far."""
        measured = [interval for interval in self.intervals if interval.since_s >= 0]
        errors = {}
        for interval in measured:
            for code, count in interval.error_counts.items():
                errors[code] = errors.get(code, 0) + count
        offered = sum(interval.offered_count for interval in measured)
        answered = sum(interval.answered_count for interval in measured)
        late = sum(interval.late_count for interval in measured)
        values = {
            "command": f"unrolled-load --rate {self.rate} --duration {len(measured)}s --html report.html",
            "target": "127.0.0.1:50051",
            "machine": MACHINE,
            "server": SERVER,
            "started_at": "2026-11-05T14:03:07.250000+01:00",
            "load": {
                "shape": f"constant, {self.rate}/s",
                "words": "3 a request, by frequency from a built-in list",
                "hidden_size": "16",
                "seed": "1",
            },
            "transport": "unary",
            "is_open": self.is_open,
            "warmup_s": float(self.warmup_s),
            "duration_s": float(len(measured)),
            "intervals": self.intervals,
            "latency": merged(interval.latency for interval in measured),
            "latency_from_send": self.from_send,
            "server_queue": latencies_of(self.rng.lognormal(math.log(0.00003), 0.6, answered)),
            "server_compute": latencies_of(self.rng.lognormal(math.log(0.0002), 0.3, answered)),
            "offered_count": offered,
            "sent_count": offered,
            "unsent_count": 0,
            "late_count": late,
            "max_late_s": 0.0034 if late else 0.0002,
            "answered_count": answered,
            "unanswered_count": 0,
            "error_counts": errors,
            "verification": Verification(mode="bits", checked_count=answered, distinct_count=128),
            "generator": Generator(process_count=2, ceiling_per_s=4_830.0, busy=0.31, bound_by=None),
            "search": None,
            "ending": "done",
        }
        return Record(**values | changes)


def usual():
    run = Run()
    for _ in range(62):
        run.second()
    return run.record()


def paused():
    """A server that stops for 200 ms once a second."""
    run = Run()
    for second in range(62):
        run.second(pause_s=0.2, late=3 if second == 40 else 0)
    return run.record()


def saturated():
    """Twice the server's capacity, with a generator near its limit."""
    run = Run(rate=2_000)
    for second in range(32):
        run.second(backlog_s=max(second - 2, 0) * 0.4, busy=0.97, late=150)
    bound_by = "the busiest process used 97 % of its core, and sent 7.5 % of its requests late"
    generator = Generator(process_count=2, ceiling_per_s=2_210.0, busy=0.97, bound_by=bound_by)
    return run.record(generator=generator)


def failing():
    """Errors of several codes, a server that dies, and one reply with different bits."""
    run = Run()
    for second in range(22):
        errors = {} if second < 9 else {"RESOURCE_EXHAUSTED": 40, "DEADLINE_EXCEEDED": 7}
        run.second(errors=errors, pause_s=0.05 if errors else 0.0)
    for _ in range(3):
        run.second(errors={"UNAVAILABLE": 500})
    verification = Verification(
        mode="bits",
        checked_count=9_000,
        distinct_count=128,
        differing_count=1,
        first_differing='{"words": ["<b>hello</b>", "a&b"], "hidden_size": 16, "seed": 1}',
    )
    command = "unrolled-load '<script>alert(1)</script>'"
    return run.record(verification=verification, ending="server gone", unsent_count=38, command=command)


def interrupted():
    run = Run()
    for _ in range(7):
        run.second()
    return run.record(ending="interrupted", unsent_count=2)


def interrupted_in_warmup():
    return Run().second().record(ending="interrupted", duration_s=0.0)


def drained():
    """All replies arrived after the measurement."""
    run = Run(rate=20, warmup_s=0).second()
    after_end = Outcomes(answered_count=20)
    intervals = [replace(run.intervals[0], answered_count=0, in_flight_count=20)]
    return run.record(answered_count=20, after_end=after_end, intervals=intervals)


def generator_failed():
    run = Run()
    for _ in range(7):
        run.second()
    reason = "a process of the generator ended with signal 9; it wrote: nothing"
    return run.record(ending="generator failed", reason=reason)


def unanswered():
    """No server answered."""
    run = Run(warmup_s=0)
    for _ in range(10):
        run.second(errors={"UNAVAILABLE": 500})
    nothing = Latencies()
    return run.record(server={}, ending="server gone", server_queue=nothing, server_compute=nothing)


def short():
    """One interval."""
    return Run(rate=240, warmup_s=0).second().record()


def long():
    """Ten minutes, with pauses in some of them."""
    run = Run(rate=300)
    for second in range(602):
        run.second(pause_s=0.4 if 300 < second < 330 and second % 3 == 0 else 0.0)
    return run.record()


def closed():
    """The same server in a closed loop with eight callers."""
    run = Run(is_open=False)
    for _ in range(62):
        run.second(pause_s=0.2)
    record = run.record(
        transport="stream",
        verification=Verification(mode="off"),
        generator=Generator(process_count=1, ceiling_per_s=None, busy=0.2, bound_by=None),
    )
    return replace(record, load={**record.load, "shape": "closed loop, 8 at once"})


def found():
    """A search for the highest rate."""
    rates = [500, 1_000, 2_000, 4_000, 3_000, 2_500, 2_250, 2_375]
    trials = [
        Trial(
            rate_per_s=rate,
            achieved_per_s=min(rate, 2_420) * 0.999,
            percentile_s=0.0024 * math.exp(rate / 900) if rate < 2_300 else 0.4 + rate / 4_000,
            error_share=0.0 if rate < 3_000 else 0.004,
            is_met=rate < 2_300,
        )
        for rate in rates
    ]
    search = Search(percent=99, limit_s=0.05, max_error_share=0.001, trials=trials, found_per_s=2_250.0)
    run = Run(rate=2_250)
    for _ in range(12):
        run.second(pause_s=0.04)
    return run.record(search=search, command="unrolled-load --find-max --target p99=50ms")


def not_found():
    trials = [
        Trial(rate_per_s=rate, achieved_per_s=0.0, percentile_s=math.nan, error_share=1.0, is_met=False)
        for rate in (500.0, 250.0)
    ]
    search = Search(percent=99, limit_s=0.05, max_error_share=0.001, trials=trials, found_per_s=None)
    return replace(unanswered(), search=search)


RECORDS = {
    make.__name__: make
    for make in (
        usual,
        paused,
        saturated,
        failing,
        interrupted,
        interrupted_in_warmup,
        drained,
        generator_failed,
        unanswered,
        short,
        long,
        closed,
        found,
        not_found,
    )
}


@cache
def record_of(name):
    """Returns the record of that name; made once and never changed."""
    return RECORDS[name]()


SECONDS = st.floats(1e-6, 3_000)
COUNTS = st.integers(0, 10**9)
TEXTS = st.dictionaries(st.text(max_size=8), st.text(max_size=20), max_size=3)
ERRORS = st.dictionaries(st.sampled_from(["UNAVAILABLE", "INTERNAL", "<i>"]), COUNTS, max_size=3)
SHARES = st.floats(0, 1)
RATES = st.floats(0, 1e6)
OUTCOMES = st.builds(Outcomes, answered_count=COUNTS, error_count=COUNTS)
LATENCIES = st.builds(latencies_of, st.lists(SECONDS, max_size=30))


@st.composite
def any_intervals(draw):
    """Draws consecutive intervals that begin in the warm-up or at 0."""
    lengths = draw(st.lists(st.floats(0.1, 2), max_size=6))
    warmup_count = draw(st.integers(0, len(lengths)))
    ends = np.cumsum([0.0, *lengths])
    return [
        draw(
            st.builds(
                Interval,
                since_s=st.just(float(start - ends[warmup_count])),
                length_s=st.just(length_s),
                offered_count=COUNTS,
                sent_count=COUNTS,
                late_count=COUNTS,
                answered_count=COUNTS,
                error_counts=ERRORS,
                in_flight_count=COUNTS,
                latency=LATENCIES,
                generator_busy=SHARES,
            )
        )
        for start, length_s in zip(ends, lengths, strict=False)
    ]


def any_records():
    """Returns a strategy for records of all kinds, including impossible ones."""
    trial = st.builds(
        Trial,
        rate_per_s=RATES,
        achieved_per_s=RATES,
        percentile_s=st.just(math.nan) | SECONDS,
        error_share=SHARES,
        is_met=st.booleans(),
    )
    return st.builds(
        Record,
        command=st.text(),
        target=st.text(),
        machine=TEXTS,
        server=TEXTS,
        started_at=st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat),
        load=TEXTS,
        transport=st.sampled_from(["unary", "stream", "merged"]),
        is_open=st.booleans(),
        warmup_s=SECONDS,
        duration_s=st.just(0.0) | SECONDS,
        intervals=any_intervals(),
        latency=LATENCIES,
        latency_from_send=LATENCIES,
        server_queue=LATENCIES,
        server_compute=LATENCIES,
        offered_count=COUNTS,
        sent_count=COUNTS,
        unsent_count=COUNTS,
        late_count=COUNTS,
        max_late_s=st.floats(0, 3_000),
        answered_count=COUNTS,
        unanswered_count=COUNTS,
        error_counts=ERRORS,
        after_end=OUTCOMES,
        from_warmup=OUTCOMES,
        verification=st.builds(
            Verification,
            mode=st.sampled_from(["bits", "off"]),
            checked_count=COUNTS,
            distinct_count=COUNTS,
            differing_count=COUNTS,
            first_differing=st.none() | st.text(),
        ),
        generator=st.builds(
            Generator,
            process_count=st.integers(1, 64),
            ceiling_per_s=st.none() | RATES,
            busy=SHARES,
            bound_by=st.none() | st.text(),
        ),
        search=st.none()
        | st.builds(
            Search,
            percent=st.sampled_from([50.0, 99.0, 99.9]),
            limit_s=SECONDS,
            max_error_share=SHARES,
            trials=st.lists(trial, max_size=4),
            found_per_s=st.none() | RATES,
        ),
        ending=st.sampled_from(["done", "interrupted", "server gone", "generator failed"]),
        reason=st.text(),
    )
