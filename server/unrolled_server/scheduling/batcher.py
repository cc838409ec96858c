"""Between the event loop and the engines: what waits, and where it is computed.

A batch is formed late: when a compute thread is free it takes what waits, and no timer makes anybody wait for
company. Everything that touches an engine happens in its thread, reply bytes included, so the event loop only
hands them over. The exception is small work that the engine already knows: while the thread is idle it is
answered on the loop, since the hop to a thread would cost more than the work.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from prometheus_client import Metric

from unrolled_server.engine import Answer, AnswerTooLargeError, Engine, Job, NotWantedError
from unrolled_server.errors import (
    ComputeError,
    ExpiredError,
    InvalidRequestError,
    RequestError,
    Violation,
)
from unrolled_server.observability.counters import LaneCounters
from unrolled_server.scheduling.admission import NO_WAIT, Forecast, Terms
from unrolled_server.scheduling.cost_model import CostModel
from unrolled_server.scheduling.fair_queue import FairQueue

LOG = logging.getLogger(__name__)

# What one batch holds: about 50 ms of products on one core, and no more reply bytes than one large reply has.
MAX_BATCH_MULTIPLICATIONS = 1 << 31
MAX_BATCH_REPLY_BYTES = 32 << 20
# Replies of a batch are handed over together, because waking the loop costs more than most of them; but those
# that are ready do not wait for more than this.
MAX_HAND_OVER_BYTES = 256 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Computed:
    """One job's answer and where its time went, in seconds. Its memory is borrowed: copy it at once."""

    answer: Answer
    queue_s: float
    compute_s: float


Encode = Callable[[Computed], bytes]
"""Makes the reply's bytes; runs wherever the job was computed."""


class Batcher:
    """Runs jobs from one event loop on engines with a thread each.

    A network belongs to one thread, so its prefixes are known in one place and no product is ever split.
    """

    def __init__(self, engines: Sequence[Engine], cost: CostModel) -> None:
        self._lanes = [_Lane(engine, cost, name=f"compute-{at}") for at, engine in enumerate(engines)]

    def forecast(self, job: Job, terms: Terms) -> Forecast:
        """How long the job would wait, and take; no wait where its thread is idle."""
        return self._lane(job).forecast(job, terms)

    def least_wait(self, client: str) -> Forecast:
        """How long the client's smallest job would wait, whatever its network."""
        return min((lane.least_wait(client) for lane in self._lanes), key=lambda forecast: forecast.wait_s)

    def start(self, job: Job, encode: Encode, terms: Terms) -> bytes | asyncio.Future[bytes]:
        """The reply to `job`, as `encode` makes it: at once if the work is small and known.

        Cancelling the future drops the job if it still waits.

        Raises:
            ComputeError: The engine failed on this job, no other is touched. The future fails with it, too.
            InvalidRequestError: The reply would be too large, which only its prefixes tell; as above.
            ExpiredError: Only the future: the deadline passed before anything was computed for the job.
        """
        lane = self._lane(job)
        return lane.answer_at_once(job, encode) or lane.enqueue(job, encode, terms)

    def _lane(self, job: Job) -> "_Lane":
        return self._lanes[hash(job.network) % len(self._lanes)]

    def collect(self) -> Iterator[Metric]:
        """Yields the metrics of each compute thread; may be called from any thread."""
        for lane in self._lanes:
            yield from lane.counters.collect()

    async def close(self) -> None:
        """Ends the threads once everything that waits is computed."""
        for lane in self._lanes:
            lane.close()
        for lane in self._lanes:
            await asyncio.to_thread(lane.join)


class _Waiting(NamedTuple):
    job: Job
    encode: Encode
    reply: asyncio.Future[bytes]
    arrived_s: float
    deadline_s: float
    cost_s: float


class _Outcome(NamedTuple):
    reply: asyncio.Future[bytes]
    result: bytes | RequestError


class _Lane:
    """One engine, its thread, and what waits for it. Used from one event loop."""

    def __init__(self, engine: Engine, cost: CostModel, *, name: str) -> None:
        self._engine = engine
        self.counters = LaneCounters(engine)
        self._cost = cost
        self._busy_until_s = 0.0  # at a guess
        self._loop = asyncio.get_running_loop()
        self._queue: FairQueue[_Waiting] = FairQueue()
        self._changed = threading.Condition()
        self._is_busy = False
        self._is_closed = False
        self._thread = threading.Thread(target=self._compute, name=name)
        self._thread.start()

    @property
    def is_idle(self) -> bool:
        """Whether the thread sleeps; asked on the loop, it stays true until the loop's turn ends.

        Only the loop adds work, and the thread calls itself busy before it takes any: so look at the queue
        first.
        """
        return not self._queue and not self._is_busy

    def answer_at_once(self, job: Job, encode: Encode) -> bytes | None:
        """The reply to small work that the engine knows, if the thread is idle; else None."""
        if not (self.is_idle and self._engine.is_quick(job)):
            return None
        started_s = time.monotonic()
        (result,) = self._engine.run([job])
        reply = _reply_to(job, encode, result, queue_s=0.0, started_s=started_s)
        if isinstance(reply, RequestError):
            raise reply
        self.counters.observe_job(queue_s=0.0, started_s=started_s)
        return reply

    def forecast(self, job: Job, terms: Terms) -> Forecast:
        """How long the job would wait, and take."""
        if self.is_idle:
            return NO_WAIT
        cost_s = self._cost.guess_s(job)
        return Forecast(wait_s=self._wait_s(terms.client, cost_s), cost_s=cost_s)

    def least_wait(self, client: str) -> Forecast:
        """How long any job of the client would wait at least."""
        return NO_WAIT if self.is_idle else Forecast(wait_s=self._wait_s(client, 0.0))

    def enqueue(self, job: Job, encode: Encode, terms: Terms) -> asyncio.Future[bytes]:
        """The reply to `job`, computed in the thread."""
        reply = self._loop.create_future()
        cost_s = self._cost.guess_s(job)
        entry = _Waiting(job, encode, reply, time.monotonic(), terms.deadline_s, cost_s)
        with self._changed:
            self._queue.add(entry, client=terms.client, cost_s=cost_s, share=batch_share(job))
            self._changed.notify()
        return reply

    def close(self) -> None:
        """Lets the thread end once nothing waits."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()

    def join(self) -> None:
        """Waits for the thread's end."""
        self._thread.join()

    def _compute(self) -> None:
        while batch := self._take():
            try:
                for outcomes in _handfuls(self._run(batch)):
                    self._loop.call_soon_threadsafe(_hand_over, outcomes)
            except Exception:
                LOG.exception("a batch failed")
                failed = [_Outcome(entry.reply, _failure()) for entry in batch]
                self._loop.call_soon_threadsafe(_hand_over, failed)  # those that have a reply keep it

    def _take(self) -> Sequence[_Waiting]:
        """What waits, as soon as there is any that is wanted; empty when closed."""
        with self._changed:
            batch: list[_Waiting] = []
            while not batch and (self._queue or not self._is_closed):
                self._is_busy = False
                self._changed.wait_for(lambda: self._queue or self._is_closed)
                self._is_busy = True
                batch = self._queue.take(self._is_wanted)
            self._busy_until_s = time.monotonic() + sum(entry.cost_s for entry in batch)
            return batch

    def _wait_s(self, client: str, cost_s: float) -> float:
        """Seconds until a job of the client would begin: what is under way, then what comes before it."""
        under_way_s = max(0.0, self._busy_until_s - time.monotonic())
        return under_way_s + self._queue.wait_s(client, cost_s=cost_s)

    def _is_wanted(self, entry: _Waiting) -> bool:
        """Whether anybody waits for the reply; counts and tells where nobody does."""
        if entry.reply.done():  # its caller is gone
            self.counters.cancelled += 1
            return False
        if entry.deadline_s > time.monotonic():
            return True
        self.counters.expired += 1
        expired = ExpiredError("the deadline passed while the request waited; allow more time, or ask less")
        self._loop.call_soon_threadsafe(_hand_over, [_Outcome(entry.reply, expired)])
        return False

    def _run(self, batch: Sequence[_Waiting]) -> Iterator[_Outcome]:
        started_s = before_s = time.monotonic()
        computed_count = 0
        # Asked again when its turn comes: a batch may last 50 ms.
        is_wanted = lambda at: self._is_wanted(batch[at])  # noqa: E731 - of this batch alone
        results = self._engine.run([entry.job for entry in batch], is_wanted=is_wanted)
        for entry, result in zip(batch, results, strict=True):
            if isinstance(result, NotWantedError):
                continue
            queue_s = started_s - entry.arrived_s
            reply = _reply_to(entry.job, entry.encode, result, queue_s=queue_s, started_s=started_s)
            computed_count += 1
            self.counters.observe_job(queue_s=queue_s, started_s=started_s)
            now_s = time.monotonic()
            self._cost.observe(entry.job, taken_s=now_s - before_s)
            before_s = now_s
            yield _Outcome(entry.reply, reply)
        self.counters.observe_batch(computed_count, started_s=started_s)


def _reply_to(
    job: Job, encode: Encode, result: Answer | Exception, *, queue_s: float, started_s: float
) -> bytes | RequestError:
    """The reply that `encode` makes of an engine's result, or what the caller is told instead."""
    try:
        computed = Computed(answer=_answer(result), queue_s=queue_s, compute_s=time.monotonic() - started_s)
        return encode(computed)
    except AnswerTooLargeError as error:
        return InvalidRequestError([Violation(field="words", description=str(error))])
    except Exception:
        LOG.exception("a job failed: %s", job.network)
        return _failure()


def _failure() -> ComputeError:
    return ComputeError("the server failed on this request; its log says why")


def batch_share(job: Job) -> float:
    """The part of a batch that `job` may fill, by its products or by its reply."""
    return max(job.multiplications / MAX_BATCH_MULTIPLICATIONS, job.reply_bytes / MAX_BATCH_REPLY_BYTES)


def _answer(result: Answer | Exception) -> Answer:
    if isinstance(result, Exception):
        raise result
    return result


def _handfuls(outcomes: Iterable[_Outcome]) -> Iterator[list[_Outcome]]:
    """The outcomes in lists of about `MAX_HAND_OVER_BYTES` of replies."""
    handful: list[_Outcome] = []
    size = 0
    for outcome in outcomes:
        handful.append(outcome)
        size += len(outcome.result) if isinstance(outcome.result, bytes) else 0
        if size >= MAX_HAND_OVER_BYTES:
            yield handful
            handful, size = [], 0
    if handful:
        yield handful


def _hand_over(outcomes: Iterable[_Outcome]) -> None:
    """Gives each caller its reply; runs on the loop, where futures belong."""
    for reply, result in outcomes:
        if reply.done():  # the caller left while it was computed
            continue
        if isinstance(result, RequestError):
            reply.set_exception(result)
        else:
            reply.set_result(result)
