"""A worker process, `python -m unrolled_loadtest.generator.worker`.

It reads a `Job` and the start time from standard input and reports on standard output. It stops early when
its input ends, and ignores the signals that end a run.
"""

import asyncio
import gc
import os
import pickle
import selectors
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import cycle
from typing import IO, Any, TypeAlias

import grpc.aio
from unrolled_client import AsyncClient
from unrolled_client.low_level import FORWARD, FORWARD_STREAM, Endpoint, open_aio_channel, service_config

from unrolled_loadtest.generator.bit_check import BitChecker
from unrolled_loadtest.generator.pacer import ClosedLoopSource, OpenLoopSource, Pacer, RequestSource
from unrolled_loadtest.generator.protocol import Finished, Job, Progress, Ready, interval_ends
from unrolled_loadtest.generator.recorder import Recorder
from unrolled_loadtest.generator.stream import Stream
from unrolled_loadtest.generator.unary import UnaryLanes, merged_calls, unary_calls
from unrolled_loadtest.workload.arrivals import due_times
from unrolled_loadtest.workload.plan import ClosedLoop
from unrolled_loadtest.workload.requests import make_workload

CONNECT_TIMEOUT_S = 10.0
_EXPIRY_STEP_S = 0.25

_OPTIONS = (
    ("grpc.enable_retries", 0),  # failures are to be counted as often as they happen
    ("grpc.max_reconnect_backoff_ms", 1_000),  # so that a server that comes back is found
)

Report: TypeAlias = Callable[[object], object]


class Worker:
    """One process's share of a run; `report` sends a message to the parent, without waiting."""

    def __init__(self, job: Job, report: Report) -> None:
        self._process = job.process
        self._plan = plan = job.plan
        self._report = report
        self._workload = make_workload(plan.request_mix, seed=plan.seed)
        self._checker = BitChecker(len(self._workload.data)) if plan.verify == "bits" else None
        self._recorder = Recorder(self._workload, self._checker)
        self._tasks: set[asyncio.Task[None]] = set()
        self._streams: list[Stream] = []
        self._is_interrupted = asyncio.Event()

    async def run(self, await_start: Callable[[], float], *, stop_fd: int) -> None:
        """Connects, waits for the start, sends, and reports.

        Raises:
            SystemExit: The connections were not open in time; the text says so.
        """
        plan = self._plan
        endpoint = Endpoint(
            target=plan.target,
            options=(*_OPTIONS, ("grpc.service_config", service_config(plan.spread, is_retrying=False))),
            spread=plan.spread,
            channels=max(1, plan.share_of(plan.connection_count, process=self._process)),
            **plan.access,
        )
        channels = [open_aio_channel(endpoint) for _ in range(endpoint.channels)]
        if plan.spread != "network":  # whose connections begin with the calls that need them
            await self._connect(channels)
        client = AsyncClient(
            plan.target,
            options=endpoint.options,
            spread=plan.spread,
            timeout_s=plan.timeout_s,
            channels=endpoint.channels,
            **plan.access,
        )
        self._report(Ready())
        origin = await asyncio.to_thread(await_start)
        asyncio.get_running_loop().add_reader(stop_fd, self._is_interrupted.set)
        gc.collect()
        gc.freeze()  # so that collections skip what lives as long as the run
        await self._send(self._make_pacer(endpoint, channels, client, origin=origin))
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
        reporting = asyncio.create_task(self._report_intervals(pacer))
        expiring = asyncio.create_task(self._expire())
        pacer.start()
        with suppress(TimeoutError):
            left_s = self._plan.load.duration_s - pacer.now_s()
            await asyncio.wait_for(self._is_interrupted.wait(), max(0.0, left_s))
        unsent = pacer.stop()
        ended_s = pacer.now_s()  # no request was due later
        if not self._is_interrupted.is_set():
            await reporting  # the last interval
        await self._drain()
        now_s = pacer.now_s()
        for due in unsent:
            self._recorder.record_unsent(due, now_s=now_s)
        reporting.cancel()
        expiring.cancel()
        self._report(self._progress(None, pacer))
        bit_check = None if self._checker is None else self._checker.result()
        self._report(Finished(ended_s=ended_s, bit_check=bit_check))

    async def _drain(self) -> None:
        """Waits up to `drain_s` for answers, and records the requests without one."""
        waiting = asyncio.gather(*self._tasks, return_exceptions=True)
        stopping = asyncio.create_task(self._is_interrupted.wait())
        await asyncio.wait(
            (waiting, stopping), timeout=self._plan.drain_s, return_when=asyncio.FIRST_COMPLETED
        )
        waiting.cancel()
        stopping.cancel()
        await asyncio.gather(*self._tasks, waiting, stopping, return_exceptions=True)
        for stream in self._streams:
            stream.give_up()

    def _make_pacer(
        self, endpoint: Endpoint, channels: list[grpc.aio.Channel], client: AsyncClient, *, origin: float
    ) -> Pacer:
        plan = self._plan
        source, lane_count = self._make_source()
        if plan.transport == "stream":
            pacer = Pacer(source, origin=origin, start_lane=lambda _due: None, max_lanes=0)
            streams: Iterator[Any] = cycle([channel.stream_stream(FORWARD_STREAM) for channel in channels])

            def open_stream(requests: AsyncIterator[bytes]) -> Any:
                return next(streams)(requests, metadata=endpoint.metadata)

            self._start_streams(open_stream, pacer, max_in_flight=lane_count)
            return pacer
        if plan.transport == "merged":
            call, read = merged_calls(client, self._workload, plan.request_mix)
        else:
            methods: Iterator[Any] = cycle([channel.unary_unary(FORWARD) for channel in channels])
            call, read = unary_calls(methods, self._workload, endpoint=endpoint, timeout_s=plan.timeout_s)
        lanes = UnaryLanes(call, read, recorder=self._recorder)
        self._tasks = lanes.tasks
        pacer = Pacer(
            source, origin=origin, start_lane=lambda due: lanes.start(due, pacer=pacer), max_lanes=lane_count
        )
        return pacer

    def _make_source(self) -> tuple[RequestSource, int]:
        """Returns the source of requests and the maximum number of requests without an answer."""
        plan, process = self._plan, self._process
        if isinstance(plan.load, ClosedLoop):
            source = ClosedLoopSource(
                begin_s=-plan.warmup_s, process=process, process_count=plan.process_count
            )
            return source, plan.share_of(plan.load.concurrency, process=process)
        blocks = due_times(
            plan.load,
            warmup_s=plan.warmup_s,
            seed=plan.seed,
            process=process,
            process_count=plan.process_count,
        )
        return OpenLoopSource(blocks), plan.share_of(plan.max_in_flight, process=process)

    def _start_streams(self, method: Callable[..., Any], pacer: Pacer, *, max_in_flight: int) -> None:
        count = self._plan.share_of(self._plan.stream_count, process=self._process)
        for at in range(count):
            stream = Stream(
                method,
                self._workload.data,
                recorder=self._recorder,
                pacer=pacer,
                window=max(1, max_in_flight // count + (at < max_in_flight % count)),
                timeout_s=self._plan.timeout_s,
            )
            self._streams.append(stream)
            self._tasks.add(asyncio.create_task(stream.run()))

    async def _expire(self) -> None:
        while self._streams:
            for stream in self._streams:
                stream.expire()
            await asyncio.sleep(_EXPIRY_STEP_S)

    async def _report_intervals(self, pacer: Pacer) -> None:
        """Reports before the load and at the end of each interval."""
        await asyncio.sleep(-self._plan.warmup_s - pacer.now_s())
        self._report(self._progress(None, pacer))
        for interval, end_s in interval_ends(self._plan):
            await asyncio.sleep(end_s - pacer.now_s())
            self._report(self._progress(interval, pacer))

    def _progress(self, interval: int | None, pacer: Pacer) -> Progress:
        return Progress(
            interval=interval,
            at_s=pacer.now_s(),
            cpu_s=time.process_time(),
            in_flight_count=self._recorder.in_flight_count,
            sent_count=self._recorder.sent_count,
            events=self._recorder.pop_events(),
        )


def _write(file: IO[bytes], message: object) -> None:
    pickle.dump(message, file, pickle.HIGHEST_PROTOCOL)
    file.flush()


def _make_loop() -> asyncio.AbstractEventLoop:
    """Returns a loop whose timers keep microseconds; see `pacer`."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


def main() -> None:
    """Runs the process."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    output = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # libraries may print, but not among the messages
    given = sys.stdin.buffer
    job: Job = pickle.load(given)  # noqa: S301 - from our own parent
    with (
        ThreadPoolExecutor(max_workers=1) as writer,  # so that a slow reader delays no request
        asyncio.Runner(loop_factory=_make_loop) as runner,
    ):
        worker = Worker(job, lambda message: writer.submit(_write, output, message))
        runner.run(worker.run(lambda: pickle.load(given), stop_fd=given.fileno()))  # noqa: S301 - see above


if __name__ == "__main__":
    main()
