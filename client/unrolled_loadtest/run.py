"""One run: from its plan to its record."""

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeAlias

from unrolled_client import Client, UnrolledError, UnsupportedError

from unrolled_loadtest.bounds import why_bound
from unrolled_loadtest.generator.bit_check import Checked, together, verification
from unrolled_loadtest.generator.process_pool import Crew
from unrolled_loadtest.generator.protocol import Done, Lost, Tick
from unrolled_loadtest.interrupts import Interrupts
from unrolled_loadtest.report.raw_log import RawLog
from unrolled_loadtest.results.aggregate import Tally
from unrolled_loadtest.results.environment import describe_machine
from unrolled_loadtest.results.record import Ending, Generator, Interval, Record, Verification
from unrolled_loadtest.workload.plan import ClosedLoop, OpenLoop, Plan
from unrolled_loadtest.workload.requests import Workload, make_workload

OnInterval: TypeAlias = Callable[[Interval], None]
"""Takes each interval when it has ended; answers that come later are not in it."""

GONE_AFTER_S = 5
"""Seconds in a row without an answer but with UNAVAILABLE, after which a server is gone."""
LOOK_TIMEOUT_S = 5.0


def run(  # noqa: PLR0913 - what a run may be given
    plan: Plan,
    on_interval: OnInterval = lambda _interval: None,
    *,
    raw_log: RawLog | None = None,
    workload: Workload | None = None,
    ceiling_per_s: float | None = None,
    interrupts: Interrupts | None = None,
) -> Record:
    """Measures. Once the load has begun, whatever ends it early leaves a record of what was measured.

    Args:
        plan: What to do.
        on_interval: Called with each interval.
        raw_log: Takes a line for each request.
        workload: The plan's requests, if they are made already.
        ceiling_per_s: What the generator reached against an echo server, if that was measured.
        interrupts: The caller's handling of signals; by default a first signal ends the run.

    Raises:
        UnrolledError: The plan cannot be carried out, or the server cannot be reached.
        OSError: A file of words cannot be read.
        KeyboardInterrupt: A signal came before the load began.
    """
    with Interrupts() if interrupts is None else nullcontext(interrupts) as signals:
        signals.before_load()
        workload = workload or make_workload(plan.questions, seed=plan.seed)
        server, machine = describe_server(plan), describe_machine()
        tally = Tally(plan)
        with Crew(plan) as crew:
            origin = crew.start()
            began_at = datetime.now().astimezone() + timedelta(seconds=origin - time.monotonic())
            follower = _Follower(plan, crew, tally, raw_log=raw_log, on_interval=on_interval)
            signals.during_load(follower.interrupt)
            if raw_log is not None:
                raw_log.begin()
            follower.follow()
        follower.look_again(plan)
        return _record(
            plan,
            tally,
            follower,
            workload=workload,
            server=server,
            machine=machine,
            started_at=began_at.isoformat(timespec="milliseconds"),
            ceiling_per_s=ceiling_per_s,
        )


def describe_server(plan: Plan) -> Mapping[str, str]:
    """What the server says of itself; nothing if it does not.

    Raises:
        UnavailableError: It cannot be reached.
    """
    with Client(plan.target, timeout_s=plan.timeout_s, **plan.access) as client:
        try:
            info = client.server_info()
        except UnsupportedError:
            return {}
    names = ("version", "torch_version", "device", "fingerprint")
    return {name: str(getattr(info, name)) for name in names if getattr(info, name)}


class _Follower:
    """Adds up what the processes report, until all are done.

    Attributes:
        ending: Why the run ended.
        reason: What ended it early, for a person.
        ended_s: When the last request was due.
        checked: What each process found by comparing answers.
    """

    def __init__(
        self, plan: Plan, crew: Crew, tally: Tally, *, raw_log: RawLog | None, on_interval: OnInterval
    ) -> None:
        self._crew = crew
        self._tally = tally
        self._raw_log = raw_log
        self._on_interval = on_interval
        self._gone_count = 0
        self._reached_s: dict[int, float] = {}
        self.ending: Ending = "done"
        self.reason = ""
        self.ended_s = -plan.warmup_s
        self.checked: list[Checked] = []

    def follow(self) -> None:
        """Returns when all processes are done."""
        for process, message in self._crew.messages():
            match message:
                case Done():
                    self.ended_s = max(self.ended_s, message.ended_s)
                    self.checked += [] if message.checked is None else [message.checked]
                case Lost():
                    self.ended_s = max(self.ended_s, self._reached_s.get(process, self.ended_s))
                    self._end("generator failed", message.reason)
                case Tick():
                    self._reached_s[process] = message.at_s
                    self._add(process, message)

    def interrupt(self) -> None:
        """Ends the run as a user's signal does."""
        self._end("interrupted")

    def look_again(self, plan: Plan) -> None:
        """Asks again a server that answered nothing in the last interval, if nothing else ended the run."""
        if self.ending != "done" or not self._gone_count:
            return
        try:
            describe_server(replace(plan, timeout_s=min(plan.timeout_s, LOOK_TIMEOUT_S)))
        except UnrolledError as error:
            self.ending, self.reason = "server gone", str(error)

    def _add(self, process: int, tick: Tick) -> None:
        if self._raw_log is not None:
            self._raw_log.add(tick.events)
        self._tally.add(process, tick)
        for interval in self._tally.live_intervals():
            self._on_interval(interval)
            if self._is_gone(interval):
                self._end("server gone")

    def _end(self, ending: Ending, reason: str = "") -> None:
        """Ends the run; the first reason counts."""
        if self.ending == "done":
            self.ending, self.reason = ending, reason
        self._crew.stop()

    def _is_gone(self, interval: Interval) -> bool:
        is_lost = not interval.answered_count and interval.error_counts.get("UNAVAILABLE", 0) > 0
        self._gone_count = self._gone_count + 1 if is_lost else 0
        return self._gone_count >= GONE_AFTER_S


def _record(  # noqa: PLR0913 - what a record is made of
    plan: Plan,
    tally: Tally,
    follower: _Follower,
    *,
    workload: Workload,
    server: Mapping[str, str],
    machine: Mapping[str, str],
    started_at: str,
    ceiling_per_s: float | None,
) -> Record:
    totals, ending, ended_s = tally.totals, follower.ending, follower.ended_s
    duration_s = plan.load.duration_s if ending == "done" else max(0.0, min(ended_s, plan.load.duration_s))
    busy = tally.busy(ended_s=duration_s)
    in_time_count = totals.answered_count - totals.after_end.answered_count
    achieved_per_s = in_time_count / duration_s if duration_s else 0.0
    bound_by = why_bound(
        busy=busy,
        late_share=totals.own_late_count / max(1, totals.offered_count),
        achieved_per_s=achieved_per_s,
        ceiling_per_s=ceiling_per_s,
        is_behind=isinstance(plan.load, ClosedLoop) or in_time_count < 0.99 * totals.offered_count,
    )
    return Record(
        command=plan.command,
        target=plan.target,
        machine=machine,
        server=server,
        started_at=started_at,
        load=describe_load(plan, workload),
        transport=plan.transport,
        is_open=isinstance(plan.load, OpenLoop),
        warmup_s=plan.warmup_s,
        duration_s=duration_s,
        intervals=tally.intervals(ended_s=duration_s or min(ended_s, 0.0)),
        latency=totals.latency,
        latency_from_send=totals.from_send,
        server_queue=totals.queue,
        server_compute=totals.compute,
        offered_count=totals.offered_count,
        sent_count=totals.sent_count,
        unsent_count=totals.unsent_count,
        late_count=totals.late_count,
        max_late_s=totals.max_late_s,
        answered_count=totals.answered_count,
        unanswered_count=totals.unanswered_count,
        error_counts=dict(totals.errors),
        after_end=totals.after_end,
        from_warmup=totals.from_warmup,
        verification=(
            Verification(mode="off")
            if plan.verify == "off"
            else verification(together(follower.checked), as_json=workload.as_json)
        ),
        generator=Generator(
            process_count=plan.process_count, ceiling_per_s=ceiling_per_s, busy=busy, bound_by=bound_by
        ),
        search=None,
        ending=ending,
        reason=follower.reason,
    )


def describe_load(plan: Plan, workload: Workload) -> Mapping[str, str]:
    """What was offered, by name and in words."""
    spread = {} if plan.spread is None else {"spread": plan.spread}
    lanes = {"streams": f"{plan.stream_count:,}"} if plan.transport == "stream" else {}
    connections = max(plan.connection_count, plan.process_count)
    bound = {"in flight": f"{plan.max_in_flight:,} at most"} if isinstance(plan.load, OpenLoop) else {}
    return {
        "shape": str(plan.load),
        "requests": str(plan.questions),
        "different requests": f"{len(workload.data):,}",
        **lanes,
        "connections": f"{connections:,}",
        **spread,
        **bound,
        "seed": str(plan.seed),
    }
