"""What is counted while requests are served: plain numbers, because a small request has no time for more.

A file of its own because counting and telling are apart: this costs a fraction of a microsecond, needs no
lock and no library, and is there whether anybody reads it or not.
"""

from bisect import bisect_left
from collections import defaultdict
from time import monotonic
from typing import Protocol

from unrolled_server.observability.metrics import (
    BATCH_JOBS,
    BATCH_ROWS,
    COMPUTE_SECONDS,
    QUEUE_SECONDS,
    REQUEST_SECONDS,
    Buckets,
    Metric,
)

OK = "OK"
FORWARD = "Forward"
FORWARD_STREAM = "ForwardStream"
GET_SERVER_INFO = "GetServerInfo"
METHODS = (FORWARD, FORWARD_STREAM, GET_SERVER_INFO)


class Histogram:
    """How often values fell into the buckets of a metric. Written by one thread at a time."""

    __slots__ = ("_bounds", "_counts", "_total")

    def __init__(self, metric: Metric) -> None:
        self._bounds = metric.bounds
        self._counts = [0] * (len(metric.bounds) + 1)
        self._total = 0.0

    def note(self, value: float) -> None:
        """Counts a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._total += value

    @property
    def buckets(self) -> Buckets:
        """What was noted so far."""
        return Buckets(tuple(self._counts), self._total)


class MethodTally:
    """How requests of one method ended.

    Attributes:
        answered: That got their reply.
        failed: The others, by code.
        seconds: From their arrival until their replies were ready.
    """

    __slots__ = ("answered", "failed", "name", "seconds")

    def __init__(self, name: str) -> None:
        self.name = name
        self.answered = 0
        self.failed: defaultdict[str, int] = defaultdict(int)
        self.seconds = Histogram(REQUEST_SECONDS)


class Tally:
    """What the event loop sees of requests.

    Attributes:
        methods: How those of each method ended.
        streams: That ended, by code.
        words: Of accepted requests.
        symbols: Of these words.
        kept_replies: That were sent again.
    """

    __slots__ = ("kept_replies", "methods", "streams", "symbols", "words")

    def __init__(self) -> None:
        self.methods = {name: MethodTally(name) for name in METHODS}
        self.streams: defaultdict[str, int] = defaultdict(int)
        self.words = 0
        self.symbols = 0
        self.kept_replies = 0

    @property
    def requests(self) -> dict[tuple[str, str], int]:
        """Requests that ended, by method and code; may be read from any thread."""
        counts = {(method.name, OK): method.answered for method in self.methods.values()}
        for method in self.methods.values():
            counts |= {(method.name, code): count for code, count in method.failed.copy().items()}
        return counts


class CountsRows(Protocol):
    """An engine; see `engine.Engine`."""

    asked_rows: int
    computed_rows: int


class LaneTally:
    """What one compute thread does. Written by it, or by the event loop while it sleeps.

    Attributes:
        expired: Jobs that were dropped before anything was computed for them, because their deadlines passed.
        cancelled: Likewise, because their callers left.
        queue_s: Wait of each job.
        compute_s: Until the reply to each was made.
        jobs: Of each batch.
        rows: That each had to compute.
        busy_s: Of all batches.
    """

    __slots__ = (
        "_asked_before",
        "_computed_before",
        "_engine",
        "_noted_rows",
        "busy_s",
        "cancelled",
        "compute_s",
        "expired",
        "jobs",
        "queue_s",
        "rows",
    )

    def __init__(self, engine: CountsRows) -> None:
        """Takes the thread's engine; what it did before, to prove itself, does not count."""
        self._engine = engine
        self._asked_before = engine.asked_rows
        self._computed_before = engine.computed_rows
        self._noted_rows = 0
        self.expired = self.cancelled = 0
        self.queue_s = Histogram(QUEUE_SECONDS)
        self.compute_s = Histogram(COMPUTE_SECONDS)
        self.jobs = Histogram(BATCH_JOBS)
        self.rows = Histogram(BATCH_ROWS)
        self.busy_s = 0.0

    @property
    def asked_rows(self) -> int:
        """States that jobs asked for."""
        return self._engine.asked_rows - self._asked_before

    @property
    def computed_rows(self) -> int:
        """States that were computed for them."""
        return self._engine.computed_rows - self._computed_before

    def note_job(self, *, queue_s: float, started_s: float) -> None:
        """Counts a reply that is made, of a batch that began at a time of the monotonic clock."""
        self.queue_s.note(queue_s)
        self.compute_s.note(monotonic() - started_s)

    def note_batch(self, job_count: int, *, started_s: float) -> None:
        """Counts a batch that is done."""
        rows = self.computed_rows
        self.jobs.note(job_count)
        self.rows.note(rows - self._noted_rows)
        self._noted_rows = rows
        self.busy_s += monotonic() - started_s
