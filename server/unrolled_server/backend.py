"""Wires engine, scheduler and service together on one event loop, for our own port and for Ray Serve."""

import asyncio
import logging
import threading
import time
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from typing import Any

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from unrolled.v1 import forward_pb2 as pb

from unrolled_server.engine import Engine
from unrolled_server.observability.counters import RequestCounters
from unrolled_server.observability.process_metrics import collect_process
from unrolled_server.observability.request_observer import Listener, RequestObserver
from unrolled_server.rpc.pipeline import ForwardReplyEncoder, RequestPipeline
from unrolled_server.rpc.reply_cache import ReplyCache
from unrolled_server.rpc.service import ForwardService
from unrolled_server.scheduling.admission import Admission
from unrolled_server.scheduling.compute_thread import ComputeThread
from unrolled_server.scheduling.cost_model import CostModel
from unrolled_server.scheduling.loop_lag import EventLoopLag
from unrolled_server.scheduling.slow_consumers import SlowConsumers
from unrolled_server.settings import Settings
from unrolled_server.startup import open_tables, server_info, verified_engine
from unrolled_server.validation.request import RequestValidator
from unrolled_server.word_vectors import VectorTable

LOG = logging.getLogger(__name__)
MIB = 2**20


class Backend:
    """Everything behind a port. Used from one event loop.

    `listeners` are called with each request that ends. The owner of the connections closes those that
    `slow_consumers` names.
    """

    def __init__(self, settings: Settings, listeners: Sequence[Listener] = ()) -> None:
        self._settings = settings
        self._started_s = time.time()
        self._observer = RequestObserver(RequestCounters(), listeners)
        self.admission = Admission(
            max_bytes=settings.max_inflight_mb * MIB,
            max_multiplications=settings.max_inflight_gmul * 10**9,
            max_queue_s=settings.max_queue_s,
        )
        self.slow_consumers = SlowConsumers(self.admission, send_timeout_s=settings.send_timeout_s)
        self._lag = EventLoopLag()
        self._background: list[asyncio.Task[None]] = []

    async def prepare(self) -> None:
        """Opens the word vectors and verifies the engine.

        Raises:
            StartupError: A file of word vectors is malformed, its converted form cannot be written, the
                device is not on this machine, or the native core is missing or computes wrong bits.
        """
        self._tables = await _opened_vectors(self._settings)
        self._engine = await asyncio.to_thread(verified_engine, self._settings, self._tables.values())
        self._cost_model = await asyncio.to_thread(_measured_cost, self._engine)
        self.info = server_info(self._engine, self._settings.limits(), self._tables.values())

    def start(self) -> ForwardService:
        """Returns the service, ready for calls on the running loop."""
        encoder = ForwardReplyEncoder(fingerprint=self.info.fingerprint)
        self._compute_thread = ComputeThread(self._engine, self._cost_model, encoder)
        pipeline = RequestPipeline(
            validator=RequestValidator(self._settings.limits(), self._tables),
            admission=self.admission,
            compute_thread=self._compute_thread,
            cache=ReplyCache(max_bytes=self._settings.reply_memory_mb * MIB),
            lag=self._lag,
            observer=self._observer,
        )
        self._service = ForwardService(
            pipeline,
            slow_consumers=self.slow_consumers,
            max_stream_bytes=self._settings.stream_bytes,
            info=self.info,
        )
        self.start_background(self._lag.watch())
        return self._service

    def start_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        task.add_done_callback(_log_failure)
        self._background.append(task)

    def check(self) -> None:
        """Raises the exception that ended a background task."""
        for task in self._background:
            if task.done():
                task.result()

    async def close(self) -> None:
        """Ends the background tasks, the compute thread and the engine; no call may follow."""
        for task in self._background:
            task.cancel()
        await self._compute_thread.close()
        self._engine.close()

    def collect(self) -> Iterator[Metric]:
        """Yields the metrics of all parts and of the process; may be called from any thread."""
        counters = self._compute_thread.counters
        for part in (self._service, self.admission, self.slow_consumers, self._lag, counters):
            yield from part.collect()
        yield from _collect_engine(self._engine)
        budget_bytes = self._settings.state_memory_mb * MIB
        yield GaugeMetricFamily("unrolled_state_memory_budget_bytes", "What they may have.", budget_bytes)
        yield _build_info(self.info)
        yield from collect_process(self._started_s)


def _collect_engine(engine: Engine) -> Iterator[Metric]:
    yield GaugeMetricFamily("unrolled_networks", "Networks in memory.", engine.network_count)
    yield GaugeMetricFamily(
        "unrolled_state_memory_bytes", "Memory of networks and their known states.", engine.held_bytes
    )


def _build_info(info: pb.GetServerInfoReply) -> Metric:
    labels = ("version", "torch_version", "device", "instruction_set", "fingerprint")
    family = GaugeMetricFamily(
        "unrolled_build_info", "1; the labels say what runs, and the fingerprint of its bits.", labels=labels
    )
    family.add_metric([getattr(info, name) for name in labels], 1)
    return family


async def _opened_vectors(settings: Settings) -> Mapping[str, VectorTable]:
    """Returns the tables by name, opened beside the event loop."""
    stop = threading.Event()
    try:
        return await asyncio.to_thread(open_tables, settings, stop=stop)
    finally:
        stop.set()  # else an interrupted process waits until the thread has converted its file


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        LOG.error("a background task of the server failed", exc_info=error)


def _measured_cost(engine: Engine) -> CostModel:
    alone_per_s = engine.multiplications_per_s(threads=1)
    speedup = 1.0
    if engine.threads > 1:
        speedup = max(speedup, engine.multiplications_per_s(threads=engine.threads) / alone_per_s)
    LOG.info("the engine does %.1f billion multiplications a second", alone_per_s * speedup / 1e9)
    return CostModel(multiplications_per_s=alone_per_s, speedup=speedup)
