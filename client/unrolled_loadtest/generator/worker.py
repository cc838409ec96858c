"""A process that sends: `python -m unrolled_loadtest.generator.worker`, with pipes to the one that counts.

It reads a `Job` and a start time from its standard input, reports on its standard output, and ends early when
its input does. It ignores the signals that end a run, because the process that reports ends it.
"""

import asyncio
import gc
import os
import pickle
import queue
import selectors
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import cycle
from typing import IO, Any

import grpc.aio
from unrolled_client import AsyncClient
from unrolled_client.low_level import (
    FORWARD,
    FORWARD_STREAM,
    Endpoint,
    open_aio_channel,
    service_config,
)

from unrolled_loadtest.generator.bit_check import Checker
from unrolled_loadtest.generator.pacer import ClosedSource, OpenSource, Pacer, Source
from unrolled_loadtest.generator.protocol import Done, Job, Ready, Tick, interval_ends
from unrolled_loadtest.generator.recorder import Ledger
from unrolled_loadtest.generator.stream import Stream
from unrolled_loadtest.generator.unary import Callers, merged, unary
from unrolled_loadtest.workload.arrivals import due_times
from unrolled_loadtest.workload.plan import ClosedLoop
from unrolled_loadtest.workload.requests import make_workload

CONNECT_TIMEOUT_S = 10.0
_EXPIRY_STEP_S = 0.25

_OPTIONS = (
    ("grpc.enable_retries", 0),  # what fails is to be seen, as often as it does
    ("grpc.max_reconnect_backoff_ms", 1_000),  # so that a server that comes back is found
)

Tell = Callable[[object], None]


class Sender:
    """One process's share of a run.

    Args:
        job: What to do.
        tell: Takes what happens to the other side, without waiting.
    """

    def __init__(self, job: Job, tell: Tell) -> None:
        self._job = job
        self._plan = plan = job.plan
        self._tell = tell
        self._workload = make_workload(plan.questions, seed=plan.seed)
        self._checker = Checker(len(self._workload.data)) if plan.verify == "bits" else None
        self._ledger = Ledger(self._workload, self._checker)
        self._tasks: set[asyncio.Task[None]] = set()
        self._streams: list[Stream] = []
        self._is_stopped = asyncio.Event()

    async def run(self, await_start: Callable[[], float], *, stop_fd: int) -> None:
        """Connects, waits for the start, sends, and reports.

        Raises:
            SystemExit: There was no connection in time; the text says so.
        """
        options = (*_OPTIONS, ("grpc.service_config", service_config(self._plan.spread, is_retrying=False)))
        endpoint = Endpoint(
            target=self._plan.target,
            options=options,
            spread=self._plan.spread,
            channels=max(1, self._plan.share_of(self._plan.connection_count, process=self._job.process)),
            **self._plan.access,
        )
        channels = [open_aio_channel(endpoint) for _ in range(endpoint.channels)]
        if self._plan.spread != "network":  # whose connections begin with the calls that need them
            await self._connect(channels)
        client = AsyncClient(
            self._plan.target,
            options=options,
            spread=self._plan.spread,
            timeout_s=self._plan.timeout_s,
            channels=endpoint.channels,
            **self._plan.access,
        )
        self._tell(Ready())
        origin = await asyncio.to_thread(await_start)
        asyncio.get_running_loop().add_reader(stop_fd, self._is_stopped.set)
        gc.collect()
        gc.freeze()  # what lives as long as the run is not looked at again
        pacer = self._make_pacer(endpoint, channels, client, origin=origin)
        await self._send(pacer)
        await client.close()
        for channel in channels:
            await channel.close()

    async def _connect(self, channels: list[grpc.aio.Channel]) -> None:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await asyncio.gather(*(channel.channel_ready() for channel in channels))
        except TimeoutError:
            raise SystemExit(f"no connection to {self._plan.target} in {CONNECT_TIMEOUT_S:g} s") from None

    async def _send(self, pacer: Pacer) -> None:
        ticking = asyncio.create_task(self._tick(pacer))
        expiring = asyncio.create_task(self._expire())
        pacer.start()
        left_s = self._plan.load.duration_s - pacer.now_s()
        await _until(self._is_stopped, timeout_s=left_s)
        unsent = list(pacer.end())
        ended_s = pacer.now_s()  # nothing was due later
        if not self._is_stopped.is_set():
            await ticking  # the last interval's
        await self._drain()
        now_s = pacer.now_s()
        for item in unsent:
            self._ledger.note_unsent(item, now_s=now_s)
        ticking.cancel()
        expiring.cancel()
        self._tell(self._tick_of(None, pacer))
        self._tell(Done(ended_s=ended_s, checked=None if self._checker is None else self._checker.checked()))

    async def _drain(self) -> None:
        """Waits for answers for a while, and notes the requests that have none by then."""
        waiting = asyncio.create_task(_all_of(self._tasks))
        stopping = asyncio.create_task(self._is_stopped.wait())
        await asyncio.wait(
            (waiting, stopping), timeout=self._plan.drain_s, return_when=asyncio.FIRST_COMPLETED
        )
        for task in (*self._tasks, waiting, stopping):
            task.cancel()
        await asyncio.gather(*self._tasks, waiting, stopping, return_exceptions=True)
        for stream in self._streams:
            stream.give_up()

    def _make_pacer(
        self, endpoint: Endpoint, channels: list[grpc.aio.Channel], client: AsyncClient, *, origin: float
    ) -> Pacer:
        plan, process = self._plan, self._job.process
        source, lane_count = self._make_source()
        if plan.transport == "stream":
            pacer = Pacer(source, origin=origin, start_lane=lambda _item: None, max_lanes=0)
            streams: Iterator[Any] = cycle([channel.stream_stream(FORWARD_STREAM) for channel in channels])

            def open_stream(requests: AsyncIterator[bytes]) -> Any:
                return next(streams)(requests, metadata=endpoint.metadata)

            stream_count = plan.share_of(plan.stream_count, process=process)
            for at in range(stream_count):
                window = lane_count // stream_count + (at < lane_count % stream_count)
                self._start_stream(open_stream, pacer, window=max(1, window))
            return pacer
        if plan.transport == "merged":
            ask, read = merged(client, self._workload, plan.questions)
        else:
            methods: Iterator[Any] = cycle([channel.unary_unary(FORWARD) for channel in channels])
            ask, read = unary(methods, self._workload, endpoint=endpoint, timeout_s=plan.timeout_s)
        callers = Callers(ask, read, ledger=self._ledger)
        self._tasks = callers.tasks
        pacer = Pacer(
            source,
            origin=origin,
            start_lane=lambda item: callers.start(item, pacer=pacer),
            max_lanes=lane_count,
        )
        return pacer

    def _make_source(self) -> tuple[Source, int]:
        """Where requests come from, and how many may be without an answer."""
        plan, process = self._plan, self._job.process
        if isinstance(plan.load, ClosedLoop):
            source = ClosedSource(begin_s=-plan.warmup_s, process=process, process_count=plan.process_count)
            return source, plan.share_of(plan.load.concurrency, process=process)
        blocks = due_times(
            plan.load,
            warmup_s=plan.warmup_s,
            seed=plan.seed,
            process=process,
            process_count=plan.process_count,
        )
        return OpenSource(blocks), plan.share_of(plan.max_in_flight, process=process)

    def _start_stream(self, method: Callable[..., Any], pacer: Pacer, *, window: int) -> None:
        stream = Stream(
            method,
            self._workload.data,
            ledger=self._ledger,
            pacer=pacer,
            window=window,
            timeout_s=self._plan.timeout_s,
        )
        self._streams.append(stream)
        self._tasks.add(asyncio.create_task(stream.run()))

    async def _expire(self) -> None:
        while self._streams:
            for stream in self._streams:
                stream.expire()
            await asyncio.sleep(_EXPIRY_STEP_S)

    async def _tick(self, pacer: Pacer) -> None:
        """Tells at the end of each interval what happened in it."""
        await asyncio.sleep(-self._plan.warmup_s - pacer.now_s())
        self._tell(self._tick_of(None, pacer))
        for interval, end_s in interval_ends(self._plan):
            await asyncio.sleep(end_s - pacer.now_s())
            self._tell(self._tick_of(interval, pacer))

    def _tick_of(self, interval: int | None, pacer: Pacer) -> Tick:
        return Tick(
            interval=interval,
            at_s=pacer.now_s(),
            cpu_s=time.process_time(),
            in_flight_count=self._ledger.in_flight_count,
            sent_count=self._ledger.sent_count,
            events=self._ledger.take_events(),
        )


async def _until(event: asyncio.Event, *, timeout_s: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), max(0.0, timeout_s))
    except TimeoutError:
        return


async def _all_of(tasks: set[asyncio.Task[None]]) -> None:
    if tasks:
        await asyncio.wait(tuple(tasks))


def _writer(file: IO[bytes]) -> tuple[Tell, Callable[[], None]]:
    """What takes messages to a pipe in a thread, so that a slow reader holds up no request; and its end."""
    messages: queue.SimpleQueue[object] = queue.SimpleQueue()

    def write() -> None:
        while (message := messages.get()) is not None:
            pickle.dump(message, file, pickle.HIGHEST_PROTOCOL)
            file.flush()

    thread = threading.Thread(target=write, daemon=True)
    thread.start()

    def end() -> None:
        messages.put(None)
        thread.join()

    return messages.put, end


def _make_loop() -> asyncio.AbstractEventLoop:
    """A loop whose timers keep microseconds; see `pacer`."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


def main() -> None:
    """Runs the program."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    told = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no message
    given = sys.stdin.buffer
    job: Job = pickle.load(given)  # noqa: S301 - from our own parent
    tell, end = _writer(told)
    with asyncio.Runner(loop_factory=_make_loop) as runner:
        runner.run(Sender(job, tell).run(lambda: pickle.load(given), stop_fd=given.fileno()))  # noqa: S301
    end()


if __name__ == "__main__":
    main()
