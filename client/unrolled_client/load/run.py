"""One run: from its plan to its record.

A file of its own because it is the one place where everything here meets.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TypeAlias

from unrolled_client import Client, UnsupportedError
from unrolled_client.load.bounds import why_bound
from unrolled_client.load.crew import Crew
from unrolled_client.load.machine import describe_machine
from unrolled_client.load.messages import Done
from unrolled_client.load.plan import ClosedLoop, OpenLoop, Plan
from unrolled_client.load.raw_log import RawLog
from unrolled_client.load.record import Ending, Generator, Interval, Record, Verification
from unrolled_client.load.tally import Tally
from unrolled_client.load.verify import Checked, together, verification
from unrolled_client.load.workload import Workload, make_workload

OnInterval: TypeAlias = Callable[[Interval], None]
"""Takes each interval when it has ended; answers that are still on their way are not in it."""

GONE_AFTER_S = 5
"""Seconds in a row without an answer but with UNAVAILABLE, after which a server is gone."""


def run(
    plan: Plan, on_interval: OnInterval = lambda _interval: None, *, ceiling_per_s: float | None = None
) -> Record:
    """Measures. Ctrl-C ends it with what was measured so far.

    Args:
        plan: What to do.
        on_interval: Told how it goes.
        ceiling_per_s: What the generator reached against an echo server, if that was measured.

    Raises:
        UnrolledError: The plan cannot be carried out, or the server cannot be reached.
        OSError: A file cannot be read or written.
        KeyboardInterrupt: Ctrl-C before the load began.
    """
    workload = make_workload(plan.questions, seed=plan.seed)
    server = describe_server(plan)
    tally = Tally(plan)
    with RawLog(plan.raw_log) as raw_log, Crew(plan) as crew:
        origin = crew.start()
        began_at = datetime.now().astimezone() + timedelta(seconds=origin - time.monotonic())
        follower = _Follower(crew, tally, raw_log, on_interval)
        ending = follower.follow()
    return _record(
        plan,
        tally,
        workload=workload,
        server=server,
        started_at=began_at.isoformat(timespec="milliseconds"),
        ending=ending,
        ended_s=follower.ended_s,
        checked=follower.checked,
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
    """Hears what the processes tell, until all are done.

    Attributes:
        ended_s: When the last request was due.
        checked: What each process found by comparing answers.
    """

    def __init__(self, crew: Crew, tally: Tally, raw_log: RawLog, on_interval: OnInterval) -> None:
        self._crew = crew
        self._tally = tally
        self._raw_log = raw_log
        self._on_interval = on_interval
        self._gone_count = 0
        self._ending: Ending = "done"
        self.ended_s = 0.0
        self.checked: list[Checked] = []

    def follow(self) -> Ending:
        """Why it ended."""
        with _on_interrupt(self._interrupt):
            self._hear_all()
        return self._ending

    def _interrupt(self) -> None:
        self._ending = "interrupted"
        self._crew.stop()

    def _hear_all(self) -> None:
        for process, message in self._crew.messages():
            if isinstance(message, Done):
                self.ended_s = max(self.ended_s, message.ended_s)
                self.checked += [] if message.checked is None else [message.checked]
                continue
            self._raw_log.write(message.events)
            self._tally.add(process, message)
            for interval in self._tally.live_intervals():
                self._on_interval(interval)
                if self._ending == "done" and self._is_gone(interval):
                    self._ending = "server gone"
                    self._crew.stop()

    def _is_gone(self, interval: Interval) -> bool:
        is_lost = not interval.answered_count and interval.error_counts.get("UNAVAILABLE", 0) > 0
        self._gone_count = self._gone_count + 1 if is_lost else 0
        return self._gone_count >= GONE_AFTER_S


@contextmanager
def _on_interrupt(act: Callable[[], None]) -> Iterator[None]:
    """Acts on the first Ctrl-C, at any line, and raises the second. In other threads there is none."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(_number: int, _frame: object) -> None:
        signal.signal(signal.SIGINT, before)
        act()

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _record(  # noqa: PLR0913 - what a record is made of
    plan: Plan,
    tally: Tally,
    *,
    workload: Workload,
    server: Mapping[str, str],
    started_at: str,
    ending: Ending,
    ended_s: float,
    checked: list[Checked],
    ceiling_per_s: float | None,
) -> Record:
    totals = tally.totals
    duration_s = plan.load.duration_s if ending == "done" else max(0.0, min(ended_s, plan.load.duration_s))
    busy = tally.busy(ended_s=duration_s)
    achieved_per_s = totals.answered_count / duration_s if duration_s else 0.0
    bound_by = why_bound(
        busy=busy,
        late_share=totals.own_late_count / max(1, totals.offered_count),
        achieved_per_s=achieved_per_s,
        ceiling_per_s=ceiling_per_s,
        is_behind=isinstance(plan.load, ClosedLoop) or totals.answered_count < 0.99 * totals.offered_count,
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
        intervals=tally.intervals(ended_s=duration_s if ended_s > 0 else ended_s),
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
        error_counts=dict(totals.errors),
        verification=(
            Verification(mode="off")
            if plan.verify == "off"
            else verification(together(checked), as_json=workload.as_json)
        ),
        generator=Generator(
            process_count=plan.process_count, ceiling_per_s=ceiling_per_s, busy=busy, bound_by=bound_by
        ),
        search=None,
        ending=ending,
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
