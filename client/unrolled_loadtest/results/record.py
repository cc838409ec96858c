"""The results of a run as plain values, from which every report is made.

Times are seconds. `since_s` counts from the start of the measurement, so the warm-up is before 0. Latency
counts from the *intended* time of a request, which the schedule says, and not from when it was really sent.

The counts of a `Record` add up; each interval counts what came in it, also from the warm-up:

    offered_count == sent_count + unsent_count
    sent_count == answered_count + error_count + unanswered_count
    latency.count == answered_count + deadline errors + unanswered_count + unsent_count
    sum of the measured intervals' answered_count
        == answered_count - after_end.answered_count + from_warmup.answered_count   (errors likewise)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from unrolled_loadtest.results.histogram import Latencies

Ending = Literal["done", "interrupted", "server gone", "generator failed"]
Transport = Literal["unary", "stream", "merged"]
Verify = Literal["bits", "off"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A piece of a run, of about a second.

    Attributes:
        since_s: When it begins.
        length_s: How long it is.
        offered_count: Requests that were due in it.
        sent_count: Those due in it that were sent, whenever that was.
        late_count: Those due in it that were sent more than a millisecond late.
        answered_count: Answers that came in it, errors not counted.
        error_counts: Errors that came in it, by gRPC's name of the code.
        in_flight_count: Requests without an answer at its end.
        latency: Of the requests due in it, from their intended times.
        generator_busy: The part of one core that the busiest process of the generator used.
    """

    since_s: float
    length_s: float
    offered_count: int
    sent_count: int
    late_count: int
    answered_count: int
    error_counts: Mapping[str, int]
    in_flight_count: int
    latency: Latencies
    generator_busy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """Answers and errors that came on the other side of a boundary than their requests."""

    answered_count: int = 0
    error_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """Whether equal requests had equal answers, the warm-up's and those of all trials of a search included.

    Attributes:
        mode: What was compared.
        checked_count: Answers that were compared with an earlier one to the same request.
        distinct_count: Different requests that were answered: their first answers are not in checked_count.
        differing_count: Answers whose bits are not those of the first answer to the same request.
        first_differing: The first such request, as JSON; None if there is none.
    """

    mode: Verify
    checked_count: int = 0
    distinct_count: int = 0
    differing_count: int = 0
    first_differing: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Generator:
    """What made the load, and whether it was what bounded it.

    Attributes:
        process_count: Processes that sent.
        ceiling_per_s: Requests per second that it reached against an echo server; None if not calibrated.
        busy: The part of one core that the busiest process used, over the whole measurement.
        bound_by: Why the result is bounded by the generator, for a person; None if it is not.
    """

    process_count: int
    ceiling_per_s: float | None
    busy: float
    bound_by: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One rate that `--find-max` tried.

    Attributes:
        rate_per_s: Offered.
        achieved_per_s: Answered.
        percentile_s: The target's percentile, from intended times.
        error_share: Errors to requests.
        is_met: Whether the target was met.
    """

    rate_per_s: float
    achieved_per_s: float
    percentile_s: float
    error_share: float
    is_met: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """The search for the highest rate that meets a target.

    Attributes:
        percent: The target's percentile.
        limit_s: What it may be.
        max_error_share: Errors to requests that are allowed.
        trials: In the order in which they were run; the record's measurement is the last that was met.
        found_per_s: The highest rate that met the target; None if none did.
    """

    percent: float
    limit_s: float
    max_error_share: float
    trials: Sequence[Trial]
    found_per_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One run.

    Attributes:
        command: What was typed.
        target: Whom it asked.
        machine: Cores, memory, system: what the numbers were taken on.
        server: What the server says of itself: version, device, fingerprint, by name.
        started_at: When the measurement began, ISO 8601 with its zone.
        load: What was offered, by name and in words, such as "shape": "constant, 500/s".
        transport: How requests travelled.
        is_open: Whether requests were due at times of their own (open loop), or when an answer came.
        warmup_s: Before the measurement; its requests are in no number here but the intervals before 0.
        duration_s: Of the measurement.
        intervals: From the warm-up's first to the last.
        latency: From intended times. In a closed loop a request is due when it is sent.
        latency_from_send: What a tool reports that does not look at intended times.
        server_queue: The server's own queue times, of answers that tell them.
        server_compute: Likewise its compute times.
        offered_count: Requests that were due.
        sent_count: Those that were sent.
        unsent_count: Those that never were, because the run ended first.
        late_count: Those that were sent more than a millisecond late.
        max_late_s: The latest of them.
        answered_count: Those with an answer that is no error, whenever it came.
        unanswered_count: Those that were sent and had neither an answer nor an error when the run ended.
        error_counts: Those that failed, whenever they did, by gRPC's name of the code.
        after_end: Outcomes that came when the measurement was over: in the counts above, but in no interval
            and not achieved.
        from_warmup: Outcomes of the warm-up's requests that came within the measurement: in its intervals,
            but in no count above.
        verification: Of their bits.
        generator: Of the generator itself.
        search: How the rate was found, for --find-max.
        ending: Why it ended.
        reason: What ended it early, for a person; empty if the ending says everything.
    """

    command: str
    target: str
    machine: Mapping[str, str]
    server: Mapping[str, str]
    started_at: str
    load: Mapping[str, str]
    transport: Transport
    is_open: bool
    warmup_s: float
    duration_s: float
    intervals: Sequence[Interval]
    latency: Latencies
    latency_from_send: Latencies
    server_queue: Latencies
    server_compute: Latencies
    offered_count: int
    sent_count: int
    unsent_count: int
    late_count: int
    max_late_s: float
    answered_count: int
    unanswered_count: int
    error_counts: Mapping[str, int]
    after_end: Outcomes = Outcomes()
    from_warmup: Outcomes = Outcomes()
    verification: Verification
    generator: Generator
    search: Search | None
    ending: Ending
    reason: str = ""

    @property
    def offered_per_s(self) -> float:
        """Requests due per second of the measurement; 0 for one that ended before it began."""
        return self.offered_count / self.duration_s if self.duration_s else 0.0

    @property
    def achieved_per_s(self) -> float:
        """Answers within the measurement, per second; 0 for one that ended before it began."""
        in_time_count = self.answered_count - self.after_end.answered_count
        return in_time_count / self.duration_s if self.duration_s else 0.0

    @property
    def error_count(self) -> int:
        """Errors of all codes."""
        return sum(self.error_counts.values())

    @property
    def in_time_count(self) -> int:
        """Requests with an outcome, answer or error, within the measurement."""
        after_end_count = self.after_end.answered_count + self.after_end.error_count
        return self.answered_count + self.error_count - after_end_count

    @property
    def measured(self) -> Sequence[Interval]:
        """The intervals without the warm-up's."""
        return [interval for interval in self.intervals if interval.since_s >= 0]
