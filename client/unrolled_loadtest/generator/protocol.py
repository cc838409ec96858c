"""What the processes of a run send each other: pickled values over pipes between equal Pythons."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from unrolled_loadtest.generator.bit_check import Checked
from unrolled_loadtest.workload.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a process is to do: its share of a plan."""

    plan: Plan
    process: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """Requests are made and connections stand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """What happened since the last tick.

    Attributes:
        interval: The number of the interval that has just ended; None for the first tick, before the load,
            and the last one, after it.
        at_s: When, from the measurement's begin.
        cpu_s: The processor's time that the process has used so far.
        in_flight_count: Requests without an answer.
        sent_count: Requests sent so far.
        events: See `events`.
    """

    interval: int | None
    at_s: float
    cpu_s: float
    in_flight_count: int
    sent_count: int
    events: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """Nothing more comes.

    Attributes:
        ended_s: When the last request was due.
        checked: What comparing the answers found; None if they were not compared.
    """

    ended_s: float
    checked: Checked | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """What stands for the rest of a process's messages when it has ended early, as by a signal."""

    reason: str


def interval_ends(plan: Plan) -> Iterator[tuple[int, float]]:
    """The intervals of a run, of about a second: their numbers and when they end.

    Interval 0 begins with the measurement; the warm-up's first and the measurement's last may be shorter.
    """
    for interval in range(-math.ceil(plan.warmup_s), math.ceil(plan.load.duration_s)):
        yield interval, min(interval + 1.0, plan.load.duration_s)
