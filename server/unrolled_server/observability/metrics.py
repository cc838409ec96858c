"""Every metric that a server has: name, kind, unit, labels and what it says.

A file of its own because these names are an interface, as fields of a message are: dashboards and alerts hold
on to them. It imports nothing, so that a process without torch and gRPC can tell what its workers count.
docs/operate/metrics.md is this table for people.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, TypeAlias


class Kind(Enum):
    """What may be done with a metric's numbers."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Merge(Enum):
    """How the numbers of several workers become one."""

    SUM = "sum"
    MAX = "max"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Metric:
    """One metric.

    Attributes:
        name: As exported, with unit and, of a counter, `_total`.
        kind: See `Kind`.
        unit: Of its numbers; base units.
        labels: Names of what tells its series apart.
        bounds: Of a histogram's buckets, each included.
        merge: See `Merge`; counters and histograms are summed.
        help: One sentence.
    """

    name: str
    kind: Kind
    unit: str
    help: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    merge: Merge = Merge.SUM


class Buckets(NamedTuple):
    """A histogram's numbers.

    Attributes:
        counts: Of each bucket by itself, and last of what is beyond all bounds.
        total: The sum of what was noted.
    """

    counts: Sequence[int]
    total: float


Labels: TypeAlias = tuple[str, ...]
Value: TypeAlias = float | Buckets
Reading: TypeAlias = Mapping[Metric, Mapping[Labels, Value]]
"""What metrics say at one moment, by their labels' values."""


def sum_of(values: Sequence[Value]) -> Value:
    """Numbers or buckets of one metric, one or more, added up."""
    buckets = [value for value in values if isinstance(value, Buckets)]
    if not buckets:
        return sum(value for value in values if not isinstance(value, Buckets))
    counts = [sum(numbers) for numbers in zip(*(each.counts for each in buckets), strict=True)]
    return Buckets(counts, sum(each.total for each in buckets))


def merged(readings: Sequence[Reading]) -> Reading:
    """What several processes say, as if one said it."""
    found: dict[Metric, dict[Labels, list[Value]]] = {}
    for reading in readings:
        for metric, series in reading.items():
            for labels, value in series.items():
                found.setdefault(metric, {}).setdefault(labels, []).append(value)
    return {
        metric: {labels: _merged_values(metric, values) for labels, values in series.items()}
        for metric, series in found.items()
    }


def _merged_values(metric: Metric, values: Sequence[Value]) -> Value:
    if metric.merge is Merge.MAX:
        return max(value for value in values if not isinstance(value, Buckets))
    return sum_of(values)


# A kept reply takes 0.1 ms, the largest batch seconds.
_SECONDS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
_COUNTS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 1_024.0)
_ROWS = (0.0, 10.0, 100.0, 1_000.0, 10_000.0, 100_000.0, 1_000_000.0)


def _counter(name: str, unit: str, text: str, *labels: str) -> Metric:
    return Metric(name=f"unrolled_{name}_total", kind=Kind.COUNTER, unit=unit, help=text, labels=labels)


def _gauge(name: str, unit: str, text: str, *labels: str, merge: Merge = Merge.SUM) -> Metric:
    return Metric(name=f"unrolled_{name}", kind=Kind.GAUGE, unit=unit, help=text, labels=labels, merge=merge)


def _histogram(name: str, unit: str, text: str, *labels: str, bounds: tuple[float, ...]) -> Metric:
    return Metric(
        name=f"unrolled_{name}", kind=Kind.HISTOGRAM, unit=unit, help=text, labels=labels, bounds=bounds
    )


REQUESTS = _counter("requests", "requests", "Requests that ended; each of a stream counts.", "method", "code")
REQUEST_SECONDS = _histogram(
    "request_seconds", "seconds", "From a request's arrival until its reply was ready to be sent.", "method",
    bounds=_SECONDS,
)  # fmt: skip
QUEUE_SECONDS = _histogram(
    "queue_seconds", "seconds", "Wait of computed requests for their compute thread.", bounds=_SECONDS
)
COMPUTE_SECONDS = _histogram(
    "compute_seconds",
    "seconds",
    "From the start of a request's batch until its reply was made.",
    bounds=_SECONDS,
)
BATCH_JOBS = _histogram("batch_jobs", "requests", "Requests computed together.", bounds=_COUNTS)
BATCH_ROWS = _histogram("batch_rows", "states", "States that a batch had to compute.", bounds=_ROWS)
STREAMS = _counter("streams", "streams", "Streams that ended.", "code")
OPEN_STREAMS = _gauge("open_streams", "streams", "Streams that are open.")
WORDS = _counter("words", "words", "Words of accepted requests; kept replies are sent without counting.")
SYMBOLS = _counter("symbols", "symbols", "Symbols of these words.")
KEPT_REPLIES = _counter("kept_replies", "requests", "Requests answered with a reply that was kept.")
PREFIXES_ASKED = _counter("prefixes_asked", "states", "States that requests asked for, known or not.")
PREFIXES_COMPUTED = _counter("prefixes_computed", "states", "States that were computed for them.")
REFUSALS = _counter("refusals", "requests", "Requests that admission did not let in.", "reason")
DROPPED = _counter(
    "dropped", "requests", "Accepted requests that nobody waited for any more; none was computed.", "reason"
)
NETWORKS = _gauge("networks", "networks", "Networks in memory.")
STATE_MEMORY = _gauge("state_memory_bytes", "bytes", "Memory of networks and their known states.")
STATE_MEMORY_BUDGET = _gauge("state_memory_budget_bytes", "bytes", "What they may have.")
INFLIGHT = _gauge("inflight_bytes", "bytes", "Requests and replies in flight.")
INFLIGHT_LIMIT = _gauge("inflight_limit_bytes", "bytes", "Beyond this, requests are refused.")
INFLIGHT_REQUESTS = _gauge("inflight_requests", "requests", "Requests in flight, their replies included.")
UNREAD = _gauge("unread_bytes", "bytes", "Replies that clients are slow to read, and what waits behind them.")
UNREAD_LIMIT = _gauge("unread_limit_bytes", "bytes", "Beyond this, the slowest are sent away.")
SENT_AWAY = _counter(
    "clients_sent_away", "connections", "Connections closed because nobody read the replies."
)
LOOP_LAG = _gauge("loop_lag_seconds", "seconds", "How far the event loop is behind.", merge=Merge.MAX)
WAITING = _gauge("waiting_multiplications", "multiplications", "Work that is accepted and not computed yet.")
WAITING_LIMIT = _gauge(
    "waiting_limit_multiplications", "multiplications", "Beyond this, requests are refused."
)
COMPUTE_BUSY = _counter("compute_busy_seconds", "seconds", "Time that compute threads spent on batches.")
COMPUTE_THREADS = _gauge("compute_threads", "threads", "Compute threads.")
PROVED_SHAPES = _gauge(
    "proved_shapes", "shapes", "Shapes of steps whose bits were proved equal.", merge=Merge.MAX
)
BUILD = _gauge(
    "build_info",
    "none",
    "1; the labels say what runs, and the fingerprint of its bits.",
    "version",
    "torch_version",
    "device",
    "fingerprint",
    merge=Merge.MAX,
)
WORKERS = _gauge("workers", "processes", "Processes that should serve.")
READY_WORKERS = _gauge("ready_workers", "processes", "Processes that serve.")
WORKER_RESTARTS = _counter("worker_restarts", "processes", "Workers that died and were replaced.")
CPU_SECONDS = _counter("process_cpu_seconds", "seconds", "Processor time, user and system.")
RESIDENT_MEMORY = _gauge("process_resident_memory_bytes", "bytes", "Resident memory.")
START_TIME = _gauge(
    "process_start_time_seconds", "seconds", "When the youngest process began, since 1970.", merge=Merge.MAX
)

METRICS: tuple[Metric, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
BY_NAME: Mapping[str, Metric] = {metric.name: metric for metric in METRICS}
