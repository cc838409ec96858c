"""Counters of requests and batches: plain numbers, so that counting costs a fraction of a microsecond."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import accumulate
from time import monotonic
from typing import Protocol

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.utils import floatToGoString

OK = "OK"
CANCELLED = "CANCELLED"
FORWARD = "Forward"
FORWARD_STREAM = "ForwardStream"
GET_SERVER_INFO = "GetServerInfo"

# Upper bounds of buckets, inclusive. A cached reply takes 0.1 ms, the largest batch seconds.
SECONDS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
JOBS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 1_024.0)
ROWS = (0.0, 10.0, 100.0, 1_000.0, 10_000.0, 100_000.0, 1_000_000.0)


class Histogram:
    """Counts of values by bucket. Written by one thread at a time."""

    __slots__ = ("_bounds", "_counts", "_total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._total += value

    def add_to(self, family: HistogramMetricFamily, *labels: str) -> None:
        bounds = [*map(floatToGoString, self._bounds), "+Inf"]
        counts = accumulate(tuple(self._counts))
        family.add_metric(labels, list(zip(bounds, counts, strict=True)), self._total)

    def family(self, name: str, text: str) -> Metric:
        family = HistogramMetricFamily(name, text)
        self.add_to(family)
        return family


class MethodCounters:
    """How requests of one method ended; `failed` is by code."""

    __slots__ = ("answered", "failed", "name", "seconds")

    def __init__(self, name: str) -> None:
        self.name = name
        self.answered = 0
        self.failed: defaultdict[str, int] = defaultdict(int)
        self.seconds = Histogram(SECONDS)


class RequestCounters:
    """What the event loop counts of requests: ended streams by code, accepted words and their symbols."""

    __slots__ = ("kept_replies", "methods", "streams", "symbols", "words")

    def __init__(self) -> None:
        self.methods = {name: MethodCounters(name) for name in (FORWARD, FORWARD_STREAM, GET_SERVER_INFO)}
        self.streams: defaultdict[str, int] = defaultdict(int)
        self.words = 0
        self.symbols = 0
        self.kept_replies = 0

    def collect(self) -> Iterator[Metric]:
        """Yields the metrics; may be called from any thread."""
        requests = CounterMetricFamily(
            "unrolled_requests_total",
            "Requests that ended; each of a stream counts.",
            labels=["method", "code"],
        )
        seconds = HistogramMetricFamily(
            "unrolled_request_seconds",
            "From a request's arrival until its reply was ready to be sent.",
            labels=["method"],
        )
        for method in self.methods.values():
            for code, count in {OK: method.answered, **method.failed.copy()}.items():
                requests.add_metric([method.name, code], count)
            method.seconds.add_to(seconds, method.name)
        yield from (requests, seconds)
        streams = CounterMetricFamily("unrolled_streams_total", "Streams that ended.", labels=["code"])
        for code, count in self.streams.copy().items():
            streams.add_metric([code], count)
        yield streams
        yield CounterMetricFamily(
            "unrolled_words_total",
            "Words of accepted requests; kept replies are sent without counting.",
            self.words,
        )
        yield CounterMetricFamily("unrolled_symbols_total", "Symbols of these words.", self.symbols)
        yield CounterMetricFamily(
            "unrolled_kept_replies_total", "Requests answered with a reply that was kept.", self.kept_replies
        )


class CountsRows(Protocol):
    """What `ComputeCounters` reads from an engine."""

    asked_rows: int
    computed_rows: int


class ComputeCounters:
    """What the compute thread counts. Written by it, or by the event loop while the thread is idle.

    Rows that the engine computed before, to verify its bits, do not count. `expired` and `cancelled` are jobs
    that were dropped or stopped, because their deadline had passed or their caller had left.
    """

    def __init__(self, engine: CountsRows) -> None:
        self._engine = engine
        self._asked_before = engine.asked_rows
        self._computed_before = engine.computed_rows
        self.expired = self.cancelled = 0
        self._queue_s = Histogram(SECONDS)
        self._compute_s = Histogram(SECONDS)
        self._batch_jobs = Histogram(JOBS)
        self._batch_rows = Histogram(ROWS)
        self._busy_s = 0.0

    def observe_job(self, *, queue_s: float, started_s: float) -> None:
        """Counts a finished reply whose batch started at `started_s` of the monotonic clock."""
        self._queue_s.observe(queue_s)
        self._compute_s.observe(monotonic() - started_s)

    def observe_batch(self, job_count: int, *, row_count: int, started_s: float) -> None:
        self._batch_jobs.observe(job_count)
        self._batch_rows.observe(row_count)
        self._busy_s += monotonic() - started_s

    def collect(self) -> Iterator[Metric]:
        """Yields the metrics; may be called from any thread."""
        yield self._queue_s.family(
            "unrolled_queue_seconds", "Wait of computed requests for the compute thread."
        )
        yield self._compute_s.family(
            "unrolled_compute_seconds", "From the start of a request's batch until its reply was made."
        )
        yield self._batch_jobs.family("unrolled_batch_jobs", "Requests computed together.")
        yield self._batch_rows.family("unrolled_batch_rows", "States that a batch had to compute.")
        asked_rows = self._engine.asked_rows - self._asked_before
        computed_rows = self._engine.computed_rows - self._computed_before
        yield CounterMetricFamily(
            "unrolled_prefixes_asked_total", "States that requests asked for, known or not.", asked_rows
        )
        yield CounterMetricFamily(
            "unrolled_prefixes_computed_total", "States that were computed for them.", computed_rows
        )
        yield CounterMetricFamily(
            "unrolled_compute_busy_seconds_total",
            "Time that engines, one for each worker, spent on batches.",
            self._busy_s,
        )
        dropped = CounterMetricFamily(
            "unrolled_dropped_total",
            "Accepted requests whose caller left or whose deadline passed before the reply was computed.",
            labels=["reason"],
        )
        dropped.add_metric(["expired"], self.expired)
        dropped.add_metric(["cancelled"], self.cancelled)
        yield dropped
