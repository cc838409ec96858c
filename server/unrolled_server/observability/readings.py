"""What a server's metrics say now, read off the objects that have the numbers.

A file of its own because it is the one place that knows both: those objects count and hold what they need for
their own work, and metrics.py says under which names others see it. May be called from any thread: every
number is read once, and none is waited for.
"""

import resource
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from unrolled.v1 import forward_pb2 as pb

from unrolled_server.engine import Engine
from unrolled_server.observability import metrics
from unrolled_server.observability.counters import Histogram
from unrolled_server.observability.metrics import Labels, Metric, Reading, Value, sum_of
from unrolled_server.rpc.service import ForwardService
from unrolled_server.scheduling.admission import Admission
from unrolled_server.scheduling.batcher import Batcher
from unrolled_server.scheduling.loop_lag import EventLoopLag
from unrolled_server.scheduling.slow_consumers import SlowConsumers

_STATM = Path("/proc/self/statm")
_PAGE_BYTES = resource.getpagesize()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """The objects of one server that has started, and since when it was made."""

    service: ForwardService
    admission: Admission
    slow_readers: SlowConsumers
    lag: EventLoopLag
    batcher: Batcher
    engines: Sequence[Engine]
    info: pb.GetServerInfoReply
    state_memory_budget_bytes: int
    started_s: float


def read(sources: Sources, *, is_ready: bool) -> Reading:
    """All metrics of one process that serves."""
    return {
        **_requests(sources.service),
        **_admission(sources.admission),
        metrics.SENT_AWAY: _alone(sources.slow_readers.evicted_count),
        metrics.LOOP_LAG: _alone(sources.lag.lag_s),
        **_batches(sources.batcher),
        **_engines(sources.engines, budget_bytes=sources.state_memory_budget_bytes),
        **_build(sources.info),
        **_process(sources.started_s),
        metrics.READY_WORKERS: _alone(int(is_ready)),
    }


def of_a_lone_process() -> Reading:
    """What a supervisor would say, where there is none."""
    return {metrics.WORKERS: _alone(1), metrics.WORKER_RESTARTS: _alone(0)}


def _requests(service: ForwardService) -> Reading:
    tally = service.observer.tally
    requests: dict[Labels, Value] = dict(tally.requests.items())
    seconds: dict[Labels, Value] = {
        (method.name,): method.seconds.buckets for method in tally.methods.values()
    }
    streams: dict[Labels, Value] = {(code,): count for code, count in tally.streams.copy().items()}
    return {
        metrics.REQUESTS: requests,
        metrics.REQUEST_SECONDS: seconds,
        metrics.STREAMS: streams,
        metrics.OPEN_STREAMS: _alone(service.stream_count),
        metrics.WORDS: _alone(tally.words),
        metrics.SYMBOLS: _alone(tally.symbols),
        metrics.KEPT_REPLIES: _alone(tally.kept_replies),
    }


def _admission(admission: Admission) -> Reading:
    return {
        metrics.REFUSALS: {(reason.value,): count for reason, count in admission.refused.items()},
        metrics.INFLIGHT: _alone(admission.held_bytes),
        metrics.INFLIGHT_LIMIT: _alone(admission.max_bytes),
        metrics.UNREAD: _alone(admission.slow_bytes),
        metrics.UNREAD_LIMIT: _alone(admission.max_slow_bytes),
        metrics.INFLIGHT_REQUESTS: _alone(admission.reservation_count),
        metrics.WAITING: _alone(admission.held_multiplications),
        metrics.WAITING_LIMIT: _alone(admission.max_multiplications),
    }


def _batches(batcher: Batcher) -> Reading:
    tallies = batcher.tallies
    return {
        metrics.QUEUE_SECONDS: _together(tally.queue_s for tally in tallies),
        metrics.COMPUTE_SECONDS: _together(tally.compute_s for tally in tallies),
        metrics.BATCH_JOBS: _together(tally.jobs for tally in tallies),
        metrics.BATCH_ROWS: _together(tally.rows for tally in tallies),
        metrics.PREFIXES_ASKED: _alone(sum(tally.asked_rows for tally in tallies)),
        metrics.PREFIXES_COMPUTED: _alone(sum(tally.computed_rows for tally in tallies)),
        metrics.COMPUTE_BUSY: _alone(sum(tally.busy_s for tally in tallies)),
        metrics.COMPUTE_THREADS: _alone(len(tallies)),
        metrics.DROPPED: {
            ("expired",): sum(tally.expired for tally in tallies),
            ("cancelled",): sum(tally.cancelled for tally in tallies),
        },
    }


def _engines(engines: Sequence[Engine], *, budget_bytes: int) -> Reading:
    return {
        metrics.NETWORKS: _alone(sum(engine.network_count for engine in engines)),
        metrics.STATE_MEMORY: _alone(sum(engine.held_bytes for engine in engines)),
        metrics.STATE_MEMORY_BUDGET: _alone(budget_bytes),
        metrics.PROVED_SHAPES: _alone(max(engine.proved_count for engine in engines)),
    }


def _build(info: pb.GetServerInfoReply) -> Reading:
    return {metrics.BUILD: {(info.version, info.torch_version, info.device, info.fingerprint): 1}}


def _process(started_s: float) -> Reading:
    reading: dict[Metric, dict[Labels, Value]] = {
        metrics.CPU_SECONDS: _alone(time.process_time()),
        metrics.START_TIME: _alone(started_s),
    }
    if _STATM.exists():  # on Linux
        resident_pages = int(_STATM.read_bytes().split()[1])
        reading[metrics.RESIDENT_MEMORY] = _alone(resident_pages * _PAGE_BYTES)
    return reading


def _alone(value: float) -> dict[Labels, Value]:
    """A metric without labels."""
    return {(): value}


def _together(histograms: Iterable[Histogram]) -> dict[Labels, Value]:
    """The numbers of all threads as one."""
    return {(): sum_of([histogram.buckets for histogram in histograms])}
