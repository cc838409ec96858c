"""Record of a run, from which every report is made.

Times are seconds; `since_s` counts from the start of the measurement, so the warm-up is negative. Latency
counts from the intended time of a request, not from when it was sent. These equations hold:

    offered_count == sent_count + unsent_count
    sent_count == answered_count + error_count + unanswered_count
    latency.count == answered_count + deadline errors + unanswered_count + unsent_count
    sum of the measured intervals' answered_count
        == answered_count - after_end.answered_count + from_warmup.answered_count   (the same for errors)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from unrolled_loadtest.results.histogram import Latencies
from unrolled_loadtest.workload.plan import Transport, Verify

Ending = Literal["done", "interrupted", "server gone", "generator failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A part of a run, usually one second; answers and errors of the warm-up's requests count, too."""

    since_s: float
    length_s: float
    offered_count: int  # requests that were due in it
    sent_count: int  # of those, requests that were sent at any time
    late_count: int  # of those, requests that were sent more than a millisecond late
    answered_count: int  # answers that came in it, without errors
    error_counts: Mapping[str, int]  # errors that came in it, by gRPC's name of the code
    in_flight_count: int  # requests without an answer at its end
    latency: Latencies  # of the requests that were due in it
    generator_busy: float  # share of one core that the busiest worker process used


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """Counts of outcomes."""

    answered_count: int = 0
    error_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """The comparison of answers to equal requests, also of the warm-up and of all trials of a search."""

    mode: Verify
    checked_count: int = 0  # answers that were compared with the first answer to the same request
    distinct_count: int = 0  # requests whose first answers are not in checked_count
    differing_count: int = 0  # answers whose bits were not those of the first one
    first_differing: str | None = None  # the first request with such an answer, as JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class Generator:
    """The load generator, and whether it limited the result."""

    process_count: int
    ceiling_per_s: float | None  # answers from an echo server; None if not calibrated
    busy: float  # share of one core that the busiest worker process used
    bound_by: str | None  # why the generator limited the result; None if it did not


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One rate that `--find-max` tried."""

    rate_per_s: float
    achieved_per_s: float
    percentile_s: float  # the target's percentile
    error_share: float
    is_met: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """The search for the highest rate that meets a target."""

    percent: float
    limit_s: float  # the percentile must be below it
    max_error_share: float
    trials: Sequence[Trial]  # in the order in which they were run
    found_per_s: float | None  # None if no rate met the target


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One run, or the best trial of a search."""

    command: str
    target: str
    machine: Mapping[str, str]  # the client's, by name
    server: Mapping[str, str]  # what GetServerInfo returned, by name
    started_at: str  # when the measurement began: ISO 8601 with the time zone
    load: Mapping[str, str]  # by name, such as "shape": "constant, 500/s"
    transport: Transport
    is_open: bool  # whether requests were due by a schedule; in a closed loop they are due when sent
    warmup_s: float
    duration_s: float
    intervals: Sequence[Interval]  # from the start of the warm-up to the end of the measurement
    latency: Latencies  # from intended times
    latency_from_send: Latencies  # what a tool reports that ignores intended times
    server_queue: Latencies  # of replies that have the server's times
    server_compute: Latencies
    offered_count: int  # this and all counts below: without the warm-up's requests
    sent_count: int
    unsent_count: int  # the run ended before they were sent
    late_count: int  # sent more than a millisecond late
    max_late_s: float
    answered_count: int  # without errors, also after the measurement
    unanswered_count: int  # sent, but neither answered nor failed when the run ended
    error_counts: Mapping[str, int]  # by gRPC's name of the code
    after_end: Outcomes = Outcomes()  # after the measurement: in no interval and not achieved
    from_warmup: Outcomes = Outcomes()  # to the warm-up's requests during the measurement: in intervals only
    verification: Verification
    generator: Generator
    search: Search | None  # None for a single run
    ending: Ending
    reason: str = ""  # what ended the run early; empty if `ending` says everything

    @property
    def offered_per_s(self) -> float:
        """Returns the requests due per second; 0 for a run that ended before its measurement."""
        return self.offered_count / self.duration_s if self.duration_s else 0.0

    @property
    def achieved_per_s(self) -> float:
        """Returns the answers within the measurement per second; 0 for a run that ended before it."""
        in_time_count = self.answered_count - self.after_end.answered_count
        return in_time_count / self.duration_s if self.duration_s else 0.0

    @property
    def error_count(self) -> int:
        """Returns the errors of all codes."""
        return sum(self.error_counts.values())

    @property
    def in_time_count(self) -> int:
        """Returns the answers and errors within the measurement."""
        after_end_count = self.after_end.answered_count + self.after_end.error_count
        return self.answered_count + self.error_count - after_end_count
