"""Adds up events: to intervals while a run lasts, and to the counts of its record."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from unrolled_loadtest.generator.events import CODE_NAMES, EVENT, IS_HELD, UNANSWERED, UNSENT
from unrolled_loadtest.generator.protocol import Tick
from unrolled_loadtest.results.histogram import HIGHEST_US, LOWEST_US, Latencies
from unrolled_loadtest.results.record import Interval, Outcomes
from unrolled_loadtest.workload.arrivals import due_times
from unrolled_loadtest.workload.plan import OpenLoop, Plan

LATE_S = 1e-3
MAX_INTERVALS = 600
"""Of one record; a longer run has longer ones."""

_OK, _DEADLINE_EXCEEDED = 0, 4
_Events = NDArray[np.void]


class Totals:
    """The counts of a measurement, by the names of `Record`.

    Attributes:
        latency: Of what was answered, or waited for in vain until a deadline or the run's end.
        from_send: The same from when it was sent.
        queue: The server's queue times.
        compute: The server's compute times.
        own_late_count: What was late though there was room for it, so by the generator's fault.
    """

    def __init__(self) -> None:
        self.latency, self.from_send = Latencies(), Latencies()
        self.queue, self.compute = Latencies(), Latencies()
        self.offered_count = self.unsent_count = self.answered_count = self.unanswered_count = 0
        self.late_count = self.own_late_count = 0
        self.max_late_s = 0.0
        self.errors: Counter[str] = Counter()
        self.after_end = self.from_warmup = Outcomes()

    def add(self, events: _Events, *, end_s: float) -> None:
        """Adds events of a run whose measurement ends at `end_s`."""
        is_measured, done_s = events["due_s"] >= 0, events["done_s"]
        self.from_warmup = _with(self.from_warmup, events[~is_measured & (done_s >= 0) & (done_s <= end_s)])
        self.after_end = _with(self.after_end, events[is_measured & (done_s > end_s)])
        self._add_measured(events[is_measured])

    def _add_measured(self, events: _Events) -> None:
        code, lateness_s = events["code"], _lateness_s(events)
        is_late = lateness_s > LATE_S
        self.offered_count += len(events)
        self.unsent_count += int((code == UNSENT).sum())
        self.answered_count += int((code == _OK).sum())
        self.unanswered_count += int((code == UNANSWERED).sum())
        self.late_count += int(is_late.sum())
        self.own_late_count += int((is_late & (events["flags"] & IS_HELD == 0)).sum())
        self.max_late_s = max(self.max_late_s, float(lateness_s.max(initial=0.0)))
        self.errors.update(_error_counts(code))
        waited = events[_has_latency(code)]
        record(self.latency, waited["done_s"] - waited["due_s"])
        record(self.from_send, waited["done_s"] - waited["sent_s"])
        for latencies, name in ((self.queue, "queue_s"), (self.compute, "compute_s")):
            record(latencies, events[name])

    @property
    def sent_count(self) -> int:
        """Requests that were sent."""
        return self.offered_count - self.unsent_count


@dataclass(slots=True, kw_only=True)
class _Second:
    """One interval as it fills."""

    offered_count: int = 0
    unsent_count: int = 0
    late_count: int = 0
    answered_count: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    durations_us: list[NDArray[np.uint32]] = field(default_factory=list)
    in_flight_counts: dict[int, int] = field(default_factory=dict)
    busy: float = 0.0

    def add_due(self, events: _Events) -> None:
        """Takes events that were due in it."""
        self.offered_count += len(events)
        self.unsent_count += int((events["code"] == UNSENT).sum())
        self.late_count += int((_lateness_s(events) > LATE_S).sum())
        waited = events[_has_latency(events["code"])]
        self.durations_us.append(_microseconds(waited["done_s"] - waited["due_s"]))

    def add_done(self, codes: NDArray[np.uint8]) -> None:
        """Takes the codes of what was done in it."""
        self.answered_count += int((codes == _OK).sum())
        self.errors.update(_error_counts(codes))

    def as_interval(self, since_s: float, end_s: float) -> Interval:
        """What is known of it by now."""
        latency = Latencies()
        if self.durations_us:
            _record_us(latency, np.concatenate(self.durations_us))
        return Interval(
            since_s=since_s,
            length_s=end_s - since_s,
            offered_count=self.offered_count,
            sent_count=self.offered_count - self.unsent_count,
            late_count=self.late_count,
            answered_count=self.answered_count,
            error_counts=dict(self.errors),
            in_flight_count=sum(self.in_flight_counts.values()),
            latency=latency,
            generator_busy=self.busy,
        )


def _joined(seconds: list[_Second]) -> _Second:
    """Neighbours as one."""
    errors: Counter[str] = Counter()
    for second in seconds:
        errors.update(second.errors)
    return _Second(
        offered_count=sum(second.offered_count for second in seconds),
        unsent_count=sum(second.unsent_count for second in seconds),
        late_count=sum(second.late_count for second in seconds),
        answered_count=sum(second.answered_count for second in seconds),
        errors=errors,
        durations_us=[part for second in seconds for part in second.durations_us],
        in_flight_counts=seconds[-1].in_flight_counts,
        busy=max(second.busy for second in seconds),
    )


class Tally:
    """What all processes of a run have told.

    Attributes:
        totals: Of the measurement.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._first = -math.ceil(plan.warmup_s)
        self._last = math.ceil(plan.load.duration_s) - 1
        self._seconds: dict[int, _Second] = defaultdict(_Second)
        self._ticks: list[list[Tick]] = [[] for _ in range(plan.process_count)]
        self._offered = _Offered(plan) if isinstance(plan.load, OpenLoop) else None
        self._next_live = self._first
        self.totals = Totals()

    def add(self, process: int, tick: Tick) -> None:
        """Takes what a process told."""
        events = np.frombuffer(tick.events, EVENT)
        if not self._offered:  # a closed loop, in which a request is due when it is sent
            events = events.copy()
            events["due_s"] = events["sent_s"]
        self.totals.add(events, end_s=self._plan.load.duration_s)
        for interval, part in self._by_interval(events, "due_s"):
            self._seconds[interval].add_due(part)
        done = events[(events["code"] < UNANSWERED) & (events["done_s"] <= self._plan.load.duration_s)]
        for interval, part in self._by_interval(done, "done_s"):
            self._seconds[interval].add_done(part["code"])
        self._add_state(process, tick, events)

    def live_intervals(self) -> Iterator[Interval]:
        """The intervals that all processes have passed since this was last asked, as far as they are known.

        What was due in them and is not answered yet is in no latency.
        """
        while all(_place_of(self._next_live, ticks) is not None for ticks in self._ticks):
            interval, self._next_live = self._next_live, self._next_live + 1
            sent_count = sum(_sent_in(interval, ticks) for ticks in self._ticks)
            offered_count = sent_count if self._offered is None else self._offered.count(interval)
            since_s, end_s = self._bounds(interval, interval)
            known = self._seconds[interval].as_interval(since_s, end_s)
            yield replace(known, sent_count=sent_count, offered_count=offered_count)

    def intervals(self, *, ended_s: float) -> list[Interval]:
        """Returns all intervals until then, when everything is known; none if the load never began.

        What came in the moments after a run that was cut short is in its last interval.
        """
        if ended_s <= -self._plan.warmup_s:
            return []
        size = max(1, math.ceil((self._last + 1) / MAX_INTERVALS))
        last = min(self._last, math.ceil(ended_s) - 1)
        starts = [*range(self._first, min(0, last + 1), size), *range(0, last + 1, size)]
        found = []
        for start, following in zip(starts, [*starts[1:], last + 1], strict=True):
            since_s, end_s = self._bounds(start, following - 1)
            seconds = [self._seconds[interval] for interval in range(start, following)]
            if following == last + 1:
                seconds += [second for number, second in self._seconds.items() if number > last]
            found.append(_joined(seconds).as_interval(since_s, min(end_s, ended_s)))
        return found

    def busy(self, *, ended_s: float) -> float:
        """The part of one core that the busiest process used in the measurement."""
        return max(_busy(ticks, ended_s=ended_s) for ticks in self._ticks)

    def _bounds(self, first: int, last: int) -> tuple[float, float]:
        return max(float(first), -self._plan.warmup_s), min(last + 1.0, self._plan.load.duration_s)

    def _by_interval(self, events: _Events, name: str) -> Iterator[tuple[int, _Events]]:
        numbers = np.clip(np.floor(events[name]), self._first, self._last).astype(np.int64)
        for interval in np.unique(numbers).tolist():
            yield interval, events[numbers == interval]

    def _add_state(self, process: int, tick: Tick, events: _Events) -> None:
        """Takes what a process was like at the end of an interval."""
        ticks = self._ticks[process]
        if ticks:
            interval, waiting_count = tick.interval, tick.in_flight_count
            if interval is None:  # the last, of a run that may have ended within an interval
                interval = min(math.floor(tick.at_s), self._last)
                waiting_count = int((events["code"] == UNANSWERED).sum())
            if _place_of(interval, ticks) is None:
                second = self._seconds[interval]
                second.in_flight_counts[process] = waiting_count
                second.busy = max(second.busy, _busy_between(ticks[-1], tick))
        ticks.append(tick)


class _Offered:
    """How many requests a schedule has in each interval."""

    def __init__(self, plan: Plan) -> None:
        assert isinstance(plan.load, OpenLoop)  # noqa: S101 - see Tally
        self._blocks = due_times(plan.load, warmup_s=plan.warmup_s, seed=plan.seed)
        self._counts: Counter[int] = Counter()
        self._known = -math.inf

    def count(self, interval: int) -> int:
        """Those due in the interval; asked in order."""
        while self._known < interval + 1 and (block := next(self._blocks, None)) is not None:
            _, times = block
            self._counts.update(np.floor(times).astype(np.int64).tolist())
            self._known = float(times[-1]) if len(times) else self._known
        return self._counts.pop(interval, 0)


def _with(outcomes: Outcomes, events: _Events) -> Outcomes:
    """Returns `outcomes` and those of these events."""
    code = events["code"]
    return Outcomes(
        answered_count=outcomes.answered_count + int((code == _OK).sum()),
        error_count=outcomes.error_count + sum(_error_counts(code).values()),
    )


def record(latencies: Latencies, durations_s: NDArray[np.floating]) -> None:
    """Adds many durations; NaN is none."""
    _record_us(latencies, _microseconds(durations_s))


def _record_us(latencies: Latencies, durations_us: NDArray[np.uint32]) -> None:
    values, counts = np.unique(durations_us, return_counts=True)
    for value, count in zip(values.tolist(), counts.tolist(), strict=True):
        latencies.histogram.record_value(value, count)


def _microseconds(durations_s: NDArray[np.floating]) -> NDArray[np.uint32]:
    known = durations_s[~np.isnan(durations_s)].astype(np.float64)
    whole: NDArray[np.uint32] = np.clip(np.rint(known * 1e6), LOWEST_US, HIGHEST_US).astype(np.uint32)
    return whole


def _lateness_s(events: _Events) -> NDArray[np.float64]:
    """By how much each was sent late; not above 0 for what never was."""
    late: NDArray[np.float64] = np.nan_to_num(events["sent_s"] - events["due_s"], nan=0.0)
    return late


def _has_latency(code: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Whether its time says how long callers wait: a quick refusal says nothing, a vain wait does."""
    return np.isin(code, (_OK, _DEADLINE_EXCEEDED, UNANSWERED, UNSENT))


def _error_counts(codes: NDArray[np.uint8]) -> Mapping[str, int]:
    numbers, counts = np.unique(codes[(codes != _OK) & (codes < UNANSWERED)], return_counts=True)
    names = [CODE_NAMES.get(number, str(number)) for number in numbers.tolist()]
    return dict(zip(names, counts.tolist(), strict=True))


def _place_of(interval: int, ticks: Sequence[Tick]) -> int | None:
    """Where the tick stands that ended an interval; None if it has not."""
    return next((at for at in range(len(ticks) - 1, -1, -1) if ticks[at].interval == interval), None)


def _sent_in(interval: int, ticks: Sequence[Tick]) -> int:
    at = _place_of(interval, ticks)
    assert at is not None  # noqa: S101 - the first tick ends no interval, so there is one before
    return ticks[at].sent_count - ticks[at - 1].sent_count


def _busy_between(before: Tick, after: Tick) -> float:
    length_s = after.at_s - before.at_s
    return (after.cpu_s - before.cpu_s) / length_s if length_s > 0 else 0.0


def _busy(ticks: Sequence[Tick], *, ended_s: float) -> float:
    """Of one process, from the tick that begins the measurement to the one that ends it."""
    within = [tick for tick in ticks if -LATE_S <= tick.at_s <= ended_s + 0.5]
    return _busy_between(within[0], within[-1]) if len(within) > 1 else 0.0
