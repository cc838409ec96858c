"""Messages between the parent and its worker processes: pickled values over pipes between equal Pythons."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from unrolled_loadtest.generator.bit_check import BitCheckResult
from unrolled_loadtest.workload.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The share of a plan that one process carries out."""

    plan: Plan
    process: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """Reported when all requests are made and all connections are open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What happened since the previous report."""

    interval: int | None  # that has just ended; None before the load and in the last report
    at_s: float  # from the start of the measurement
    cpu_s: float  # the processor time of the process so far
    in_flight_count: int  # requests without an answer now
    sent_count: int  # requests sent so far
    events: bytes  # packed events


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The last message of a process."""

    ended_s: float  # when the last request was due
    bit_check: BitCheckResult | None  # None if answers were not compared


@dataclass(frozen=True, slots=True, kw_only=True)
class Crashed:
    """Stands for the remaining messages of a process that ended early."""

    reason: str


def interval_ends(plan: Plan) -> Iterator[tuple[int, float]]:
    """Yields the numbers and ends of a run's intervals, which last a second.

    Interval 0 begins with the measurement. The first of the warm-up and the last may be shorter.
    """
    for interval in range(-math.ceil(plan.warmup_s), math.ceil(plan.load.duration_s)):
        yield interval, min(interval + 1.0, plan.load.duration_s)
