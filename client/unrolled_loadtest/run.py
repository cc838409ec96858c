"""One run: from its plan to its record."""

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeAlias

from unrolled_client import Client, UnrolledError, UnsupportedError

from unrolled_loadtest.generator.process_pool import ProcessPool
from unrolled_loadtest.generator.protocol import Crashed, Finished, Progress
from unrolled_loadtest.interrupts import Interrupts
from unrolled_loadtest.report.raw_log import RawLog
from unrolled_loadtest.results.aggregate import Aggregator
from unrolled_loadtest.results.environment import describe_machine
from unrolled_loadtest.results.record import Ending, Generator, Interval, Record, Verification
from unrolled_loadtest.results.verification import merge_bit_checks
from unrolled_loadtest.workload.plan import ClosedLoop, OpenLoop, Plan
from unrolled_loadtest.workload.requests import Workload, make_workload

OnInterval: TypeAlias = Callable[[Interval], None]
"""Called with each interval when it has ended; answers that come later are not in it."""

GONE_AFTER_S = 5
"""Seconds in a row with UNAVAILABLE and without an answer, after which a server counts as gone."""
CHECK_TIMEOUT_S = 5.0
MAX_BUSY = 0.9
MAX_LATE_SHARE = 0.01
MAX_CEILING_SHARE = 0.9


def run(  # noqa: PLR0913 - all but the plan are optional
    plan: Plan,
    on_interval: OnInterval = lambda _interval: None,
    *,
    raw_log: RawLog | None = None,
    workload: Workload | None = None,
    ceiling_per_s: float | None = None,
    interrupts: Interrupts | None = None,
) -> Record:
    """Runs a plan. Once the load has begun, the measurements are returned even if the run ends early.

    `workload` has the plan's requests, if they are made already. `ceiling_per_s` is what the generator
    reached against an echo server. `interrupts` handles signals; by default the first one ends the run.

    Raises:
        UnrolledError: The plan cannot be carried out, or the server cannot be reached.
        KeyboardInterrupt: A signal came before the load began.
    """
    with Interrupts() if interrupts is None else nullcontext(interrupts) as signals:
        signals.before_load()
        workload = workload or make_workload(plan.request_mix, seed=plan.seed)
        server = describe_server(plan)
        with ProcessPool(plan) as pool:
            origin = pool.start()
            started_at = datetime.now().astimezone() + timedelta(seconds=origin - time.monotonic())
            collector = _Collector(plan, pool, raw_log=raw_log, on_interval=on_interval)
            signals.during_load(collector.interrupt)
            if raw_log is not None:
                raw_log.begin()
            collector.collect()
        collector.check_server()
        return _record(
            plan,
            collector,
            workload=workload,
            server=server,
            started_at=started_at.isoformat(timespec="milliseconds"),
            ceiling_per_s=ceiling_per_s,
        )


def describe_server(plan: Plan) -> Mapping[str, str]:
    """Returns what the server says of itself; nothing if it does not support GetServerInfo.

    Raises:
        UnavailableError: It cannot be reached.
    """
    with Client(plan.target, timeout_s=plan.timeout_s, **plan.access) as client:
        try:
            info = client.server_info()
        except UnsupportedError:
            return {}
    names = ("version", "torch_version", "device", "instruction_set", "fingerprint")
    return {name: str(getattr(info, name)) for name in names if getattr(info, name)}


class _Collector:
    """Collects the reports of all processes."""

    def __init__(
        self, plan: Plan, pool: ProcessPool, *, raw_log: RawLog | None, on_interval: OnInterval
    ) -> None:
        self._plan = plan
        self._pool = pool
        self._raw_log = raw_log
        self._on_interval = on_interval
        self._unavailable_count = 0
        self._reached_s: dict[int, float] = {}
        self._finished: list[Finished] = []
        self.aggregator = Aggregator(plan)
        self.ending: Ending = "done"
        self.reason = ""
        self.ended_s = -plan.warmup_s  # when the last request was due

    def collect(self) -> None:
        """Returns when all processes are done."""
        for process, message in self._pool.messages():
            match message:
                case Finished():
                    self.ended_s = max(self.ended_s, message.ended_s)
                    self._finished.append(message)
                case Crashed():
                    self.ended_s = max(self.ended_s, self._reached_s.get(process, self.ended_s))
                    self._end("generator failed", message.reason)
                case Progress():
                    self._reached_s[process] = message.at_s
                    self._add(process, message)

    def interrupt(self) -> None:
        """Ends the run because of a signal."""
        self._end("interrupted")

    def check_server(self) -> None:
        """Asks a server that answered nothing in the last interval once more whether it is gone."""
        if self.ending != "done" or not self._unavailable_count:
            return
        try:
            describe_server(replace(self._plan, timeout_s=min(self._plan.timeout_s, CHECK_TIMEOUT_S)))
        except UnrolledError as error:
            self.ending, self.reason = "server gone", str(error)

    def verification(self, workload: Workload) -> Verification:
        """Returns what comparing the answers found."""
        if self._plan.verify == "off":
            return Verification(mode="off")
        checks = [message.bit_check for message in self._finished if message.bit_check is not None]
        return merge_bit_checks(checks, as_json=workload.as_json)

    def _add(self, process: int, report: Progress) -> None:
        if self._raw_log is not None:
            self._raw_log.add(report.events)
        self.aggregator.add(process, report)
        for interval in self.aggregator.live_intervals():
            self._on_interval(interval)
            if self._is_server_gone(interval):
                self._end("server gone")

    def _end(self, ending: Ending, reason: str = "") -> None:
        """Ends the run; the first reason counts."""
        if self.ending == "done":
            self.ending, self.reason = ending, reason
        self._pool.stop()

    def _is_server_gone(self, interval: Interval) -> bool:
        is_unavailable = not interval.answered_count and interval.error_counts.get("UNAVAILABLE", 0) > 0
        self._unavailable_count = self._unavailable_count + 1 if is_unavailable else 0
        return self._unavailable_count >= GONE_AFTER_S


def _record(  # noqa: PLR0913 - the parts of a record
    plan: Plan,
    collector: _Collector,
    *,
    workload: Workload,
    server: Mapping[str, str],
    started_at: str,
    ceiling_per_s: float | None,
) -> Record:
    aggregator, ending, ended_s = collector.aggregator, collector.ending, collector.ended_s
    totals = aggregator.totals
    duration_s = plan.load.duration_s if ending == "done" else max(0.0, min(ended_s, plan.load.duration_s))
    busy = aggregator.busy(ended_s=duration_s)
    in_time_count = totals.answered_count - totals.after_end.answered_count
    bound_by = generator_limit(
        busy=busy,
        late_share=totals.own_late_count / max(1, totals.offered_count),
        achieved_per_s=in_time_count / duration_s if duration_s else 0.0,
        ceiling_per_s=ceiling_per_s,
        is_behind=isinstance(plan.load, ClosedLoop) or in_time_count < 0.99 * totals.offered_count,
    )
    return Record(
        command=plan.command,
        target=plan.target,
        machine=describe_machine(),
        server=server,
        started_at=started_at,
        load=describe_load(plan, workload),
        transport=plan.transport,
        is_open=isinstance(plan.load, OpenLoop),
        warmup_s=plan.warmup_s,
        duration_s=duration_s,
        intervals=aggregator.intervals(ended_s=duration_s or min(ended_s, 0.0)),
        verification=collector.verification(workload),
        generator=Generator(
            process_count=plan.process_count, ceiling_per_s=ceiling_per_s, busy=busy, bound_by=bound_by
        ),
        search=None,
        ending=ending,
        reason=collector.reason,
        **totals.record_fields(),
    )


def generator_limit(
    *, busy: float, late_share: float, achieved_per_s: float, ceiling_per_s: float | None, is_behind: bool
) -> str | None:
    """Returns why the generator, not the server, limited a result; None if it did not.

    `late_share` is the share of requests that were sent late though there was room for them. `is_behind`
    means that less was answered than was offered, or that as much as possible was asked for.
    """
    if busy > MAX_BUSY:
        return f"its busiest process used {busy:.2f} of a core; add processes, on more cores"
    if late_share > MAX_LATE_SHARE:
        return (
            f"{late_share:.1%} of the requests were sent over a millisecond late because it lacked CPU time; "
            "offer less, or give it cores of its own"
        )
    if is_behind and ceiling_per_s is not None and achieved_per_s > MAX_CEILING_SHARE * ceiling_per_s:
        return (
            f"{achieved_per_s:,.0f} answers/s are near the {ceiling_per_s:,.0f}/s that it reaches against an "
            "echo server; add processes, on more cores"
        )
    return None


def describe_load(plan: Plan, workload: Workload) -> Mapping[str, str]:
    """Returns what was offered, by name."""
    spread = {} if plan.spread is None else {"spread": plan.spread}
    streams = {"streams": f"{plan.stream_count:,}"} if plan.transport == "stream" else {}
    limit = {"in flight": f"{plan.max_in_flight:,} at most"} if isinstance(plan.load, OpenLoop) else {}
    return {
        "shape": str(plan.load),
        "requests": str(plan.request_mix),
        "different requests": f"{len(workload.data):,}",
        **streams,
        "connections": f"{max(plan.connection_count, plan.process_count):,}",
        **spread,
        **limit,
        "seed": str(plan.seed),
    }
