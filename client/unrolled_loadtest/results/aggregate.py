"""Adds up events: to intervals during a run, and to the counts of its record."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled_loadtest.generator.events import CODE_NAMES, EVENT, FLAG_AT_LIMIT, UNANSWERED, UNSENT
from unrolled_loadtest.generator.protocol import Progress
from unrolled_loadtest.results.histogram import Latencies, microseconds
from unrolled_loadtest.results.record import Interval, Outcomes
from unrolled_loadtest.workload.arrivals import due_times
from unrolled_loadtest.workload.plan import OpenLoop, Plan

LATE_S = 1e-3
MAX_INTERVALS = 600
"""Per record; a longer run has longer intervals."""

_OK, _DEADLINE_EXCEEDED = 0, 4
_Events = NDArray[np.void]


class Totals:
    """The counts of a measurement, by the names of `Record`.

    Attributes:
        latency: Of answers, and of waits without one until a deadline or the end of the run.
        own_late_count: Requests that were late though there was room for them: the generator was too slow.
    """

    def __init__(self) -> None:
        self.latency, self.latency_from_send = Latencies(), Latencies()
        self.server_queue, self.server_compute = Latencies(), Latencies()
        self.offered_count = self.unsent_count = self.answered_count = self.unanswered_count = 0
        self.late_count = self.own_late_count = 0
        self.max_late_s = 0.0
        self.error_counts: Counter[str] = Counter()
        self.after_end = self.from_warmup = Outcomes()

    def add(self, events: _Events, *, end_s: float) -> None:
        """Adds events of a run whose measurement ends at `end_s`."""
        is_measured, done_s = events["due_s"] >= 0, events["done_s"]
        is_from_warmup = ~is_measured & (done_s >= 0) & (done_s <= end_s)
        self.from_warmup = _add_outcomes(self.from_warmup, events[is_from_warmup])
        self.after_end = _add_outcomes(self.after_end, events[is_measured & (done_s > end_s)])
        self._add_measured(events[is_measured])

    def _add_measured(self, events: _Events) -> None:
        code, lateness_s = events["code"], _lateness_s(events)
        is_late = lateness_s > LATE_S
        self.offered_count += len(events)
        self.unsent_count += int((code == UNSENT).sum())
        self.answered_count += int((code == _OK).sum())
        self.unanswered_count += int((code == UNANSWERED).sum())
        self.late_count += int(is_late.sum())
        self.own_late_count += int((is_late & (events["flags"] & FLAG_AT_LIMIT == 0)).sum())
        self.max_late_s = max(self.max_late_s, float(lateness_s.max(initial=0.0)))
        self.error_counts.update(_error_counts(code))
        waited = events[_has_latency(code)]
        self.latency.record(microseconds(waited["done_s"] - waited["due_s"]))
        self.latency_from_send.record(microseconds(waited["done_s"] - waited["sent_s"]))
        self.server_queue.record(microseconds(events["queue_s"]))
        self.server_compute.record(microseconds(events["compute_s"]))

    def record_fields(self) -> dict[str, Any]:
        """Returns the counts as fields of `Record`."""
        fields = {name: value for name, value in vars(self).items() if name != "own_late_count"}
        return fields | {"sent_count": self.offered_count - self.unsent_count}


@dataclass(slots=True, kw_only=True)
class _IntervalCounts:
    """The counts of one interval so far."""

    offered_count: int = 0
    unsent_count: int = 0
    late_count: int = 0
    answered_count: int = 0
    error_counts: Counter[str] = field(default_factory=Counter)
    durations_us: list[NDArray[np.uint32]] = field(default_factory=list)
    in_flight_counts: dict[int, int] = field(default_factory=dict)
    busy: float = 0.0

    def add_due(self, events: _Events) -> None:
        """Adds events that were due in the interval."""
        self.offered_count += len(events)
        self.unsent_count += int((events["code"] == UNSENT).sum())
        self.late_count += int((_lateness_s(events) > LATE_S).sum())
        waited = events[_has_latency(events["code"])]
        self.durations_us.append(microseconds(waited["done_s"] - waited["due_s"]))

    def add_done(self, codes: NDArray[np.uint8]) -> None:
        """Adds the codes of events that were done in the interval."""
        self.answered_count += int((codes == _OK).sum())
        self.error_counts.update(_error_counts(codes))

    def as_interval(self, since_s: float, end_s: float) -> Interval:
        """Returns the interval as far as it is known."""
        latency = Latencies()
        if self.durations_us:
            latency.record(np.concatenate(self.durations_us))
        return Interval(
            since_s=since_s,
            length_s=end_s - since_s,
            offered_count=self.offered_count,
            sent_count=self.offered_count - self.unsent_count,
            late_count=self.late_count,
            answered_count=self.answered_count,
            error_counts=dict(self.error_counts),
            in_flight_count=sum(self.in_flight_counts.values()),
            latency=latency,
            generator_busy=self.busy,
        )


def _merge(parts: list[_IntervalCounts]) -> _IntervalCounts:
    """Merges adjacent intervals."""
    error_counts: Counter[str] = Counter()
    for part in parts:
        error_counts.update(part.error_counts)
    return _IntervalCounts(
        offered_count=sum(part.offered_count for part in parts),
        unsent_count=sum(part.unsent_count for part in parts),
        late_count=sum(part.late_count for part in parts),
        answered_count=sum(part.answered_count for part in parts),
        error_counts=error_counts,
        durations_us=[durations for part in parts for durations in part.durations_us],
        in_flight_counts=parts[-1].in_flight_counts,
        busy=max(part.busy for part in parts),
    )


class Aggregator:
    """Adds up the reports of all processes of a run."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._first = -math.ceil(plan.warmup_s)
        self._last = math.ceil(plan.load.duration_s) - 1
        self._counts: dict[int, _IntervalCounts] = defaultdict(_IntervalCounts)
        self._reports: list[list[Progress]] = [[] for _ in range(plan.process_count)]
        self._sent_counts: list[dict[int, int]] = [{} for _ in range(plan.process_count)]  # by interval
        self._offered = _OfferedCounts(plan.load, plan) if isinstance(plan.load, OpenLoop) else None
        self._next_live = self._first
        self.totals = Totals()

    def add(self, process: int, report: Progress) -> None:
        """Adds a report of a process."""
        events = np.frombuffer(report.events, EVENT)
        if not self._offered:  # in a closed loop a request is due when it is sent
            events = events.copy()
            events["due_s"] = events["sent_s"]
        self.totals.add(events, end_s=self._plan.load.duration_s)
        for interval, part in self._by_interval(events, "due_s"):
            self._counts[interval].add_due(part)
        done = events[(events["code"] < UNANSWERED) & (events["done_s"] <= self._plan.load.duration_s)]
        for interval, part in self._by_interval(done, "done_s"):
            self._counts[interval].add_done(part["code"])
        self._add_state(process, report, events)

    def live_intervals(self) -> Iterator[Interval]:
        """Yields the intervals that all processes have passed since the last call, as far as they are known.

        Their latencies lack the requests that are not answered yet.
        """
        while all(self._next_live in sent_counts for sent_counts in self._sent_counts):
            interval, self._next_live = self._next_live, self._next_live + 1
            sent_count = sum(sent_counts[interval] for sent_counts in self._sent_counts)
            offered_count = sent_count if self._offered is None else self._offered.count(interval)
            since_s, end_s = self._bounds(interval, interval)
            known = self._counts[interval].as_interval(since_s, end_s)
            yield replace(known, sent_count=sent_count, offered_count=offered_count)

    def intervals(self, *, ended_s: float) -> list[Interval]:
        """Returns all intervals until `ended_s`, once all reports are added; none if the load never began.

        The last interval includes what came just after a run that was cut short.
        """
        if ended_s <= -self._plan.warmup_s:
            return []
        size = max(1, math.ceil((self._last + 1) / MAX_INTERVALS))
        last = min(self._last, math.ceil(ended_s) - 1)
        starts = [*range(self._first, min(0, last + 1), size), *range(0, last + 1, size)]
        found = []
        for start, following in zip(starts, [*starts[1:], last + 1], strict=True):
            since_s, end_s = self._bounds(start, following - 1)
            parts = [self._counts[interval] for interval in range(start, following)]
            if following == last + 1:
                parts += [counts for number, counts in self._counts.items() if number > last]
            found.append(_merge(parts).as_interval(since_s, min(end_s, ended_s)))
        return found

    def busy(self, *, ended_s: float) -> float:
        """Returns the share of one core that the busiest process used in the measurement."""
        return max(_busy(reports, ended_s=ended_s) for reports in self._reports)

    def _bounds(self, first: int, last: int) -> tuple[float, float]:
        return max(float(first), -self._plan.warmup_s), min(last + 1.0, self._plan.load.duration_s)

    def _by_interval(self, events: _Events, name: str) -> Iterator[tuple[int, _Events]]:
        numbers = np.clip(np.floor(events[name]), self._first, self._last).astype(np.int64)
        for interval in np.unique(numbers).tolist():
            yield interval, events[numbers == interval]

    def _add_state(self, process: int, report: Progress, events: _Events) -> None:
        """Adds the state of a process at the end of an interval."""
        reports, sent_counts = self._reports[process], self._sent_counts[process]
        if reports:
            interval, in_flight_count = report.interval, report.in_flight_count
            if interval is None:  # the last report, of a run that may have ended within an interval
                interval = min(math.floor(report.at_s), self._last)
                in_flight_count = int((events["code"] == UNANSWERED).sum())
            if interval not in sent_counts:
                counts = self._counts[interval]
                counts.in_flight_counts[process] = in_flight_count
                counts.busy = max(counts.busy, _busy_between(reports[-1], report))
            if report.interval is not None:
                sent_counts[interval] = report.sent_count - reports[-1].sent_count
        reports.append(report)


class _OfferedCounts:
    """The number of requests that a schedule has in each interval."""

    def __init__(self, load: OpenLoop, plan: Plan) -> None:
        self._blocks = due_times(load, warmup_s=plan.warmup_s, seed=plan.seed)
        self._counts: Counter[int] = Counter()
        self._known_s = -math.inf

    def count(self, interval: int) -> int:
        """Returns the requests due in an interval; call it for one interval after the other."""
        while self._known_s < interval + 1 and (block := next(self._blocks, None)) is not None:
            _, times = block
            self._counts.update(np.floor(times).astype(np.int64).tolist())
            self._known_s = float(times[-1]) if len(times) else self._known_s
        return self._counts.pop(interval, 0)


def _add_outcomes(outcomes: Outcomes, events: _Events) -> Outcomes:
    code = events["code"]
    return Outcomes(
        answered_count=outcomes.answered_count + int((code == _OK).sum()),
        error_count=outcomes.error_count + sum(_error_counts(code).values()),
    )


def _lateness_s(events: _Events) -> NDArray[np.float64]:
    """Returns how late each request was sent; 0 if it never was."""
    late: NDArray[np.float64] = np.nan_to_num(events["sent_s"] - events["due_s"], nan=0.0)
    return late


def _has_latency(code: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Returns whether the time says how long callers wait; that of a quick refusal does not."""
    return np.isin(code, (_OK, _DEADLINE_EXCEEDED, UNANSWERED, UNSENT))


def _error_counts(codes: NDArray[np.uint8]) -> Mapping[str, int]:
    numbers, counts = np.unique(codes[(codes != _OK) & (codes < UNANSWERED)], return_counts=True)
    names = [CODE_NAMES.get(number, str(number)) for number in numbers.tolist()]
    return dict(zip(names, counts.tolist(), strict=True))


def _busy_between(before: Progress, after: Progress) -> float:
    length_s = after.at_s - before.at_s
    return (after.cpu_s - before.cpu_s) / length_s if length_s > 0 else 0.0


def _busy(reports: Sequence[Progress], *, ended_s: float) -> float:
    """Returns the share of a core that one process used in the measurement."""
    within = [report for report in reports if -LATE_S <= report.at_s <= ended_s + 0.5]
    return _busy_between(within[0], within[-1]) if len(within) > 1 else 0.0
