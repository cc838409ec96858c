"""One engine, its thread, and the jobs that wait for it."""

import asyncio
import logging
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from unrolled_server.call_context import CallInfo
from unrolled_server.engine import (
    Answer,
    AnswerTooLargeError,
    Engine,
    Job,
    NotWantedError,
    Stop,
    StoppedError,
)
from unrolled_server.engine.devices import CPU
from unrolled_server.errors import (
    ComputeError,
    ExpiredError,
    InvalidRequestError,
    RequestError,
    Violation,
)
from unrolled_server.observability.counters import ComputeCounters
from unrolled_server.scheduling.cost_model import CostModel, Work
from unrolled_server.scheduling.fair_queue import FairQueue

LOG = logging.getLogger(__name__)

# A job of at most this predicted time is computed on the event loop while the compute thread is idle: a hop
# to the thread takes 100 us, and a write of a megabyte holds the loop for longer.
MAX_QUICK_S = 300e-6
# One batch: enough work for all threads of the core, while other jobs wait; and no more reply bytes than one
# large reply has.
MAX_BATCH_S = 0.02
MAX_BATCH_REPLY_BYTES = 32 << 20
# Replies are delivered together, because waking the event loop costs more than encoding most of them; this
# bounds how long the first ones wait for the others.
MAX_DELIVERY_BYTES = 256 << 10


class PendingReply(Protocol):
    """The reply to a job that is not yet computed."""

    def finish(self, answer: Answer, *, queue_s: float, compute_s: float) -> bytes:
        """Returns the bytes of the reply."""


class ReplyEncoder(Protocol):
    """Encodes answers as the bytes of replies. Called from the compute thread and from the event loop."""

    def start(self, job: Job, *, id_field: bytes) -> PendingReply:
        """Returns the reply to a job, and may set where the job's values are written."""


class _QueuedJob(NamedTuple):
    work: Work
    pending: PendingReply
    reply: asyncio.Future[bytes]
    arrived_s: float
    stop: Stop


class _Outcome(NamedTuple):
    reply: asyncio.Future[bytes]
    result: bytes | RequestError


class ComputeThread:
    """Computes jobs and encodes their replies on the engine. Used from one event loop.

    When the thread is free it takes what waits as a batch; no timer makes a job wait for company.
    """

    def __init__(self, engine: Engine, cost_model: CostModel, encoder: ReplyEncoder) -> None:
        self.counters = ComputeCounters(engine)
        self._engine = engine
        self._cost_model = cost_model
        self._encoder = encoder
        self._busy_until_s = 0.0  # estimated
        self._loop = asyncio.get_running_loop()
        self._queue: FairQueue[_QueuedJob] = FairQueue()
        self._changed = threading.Condition()
        self._is_busy = False
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="compute")
        self._thread.start()

    @property
    def is_idle(self) -> bool:
        """Whether the thread sleeps; on the event loop, it stays true until the next await.

        Only the loop adds work, and the thread marks itself busy before it takes any, so the queue is read
        first.
        """
        return not self._queue and not self._is_busy

    def estimate(self, job: Job) -> Work:
        """Returns what the job will take."""
        return self._cost_model.estimate(job, drawing=self._engine.drawing_multiplications(job.network))

    def min_wait_s(self, client: str, *, cost_s: float = 0.0) -> float:
        """Returns seconds until a job of the client could start: the running batch, then the queue."""
        if self.is_idle:
            return 0.0
        running_s = max(0.0, self._busy_until_s - time.monotonic())
        return running_s + self._queue.wait_s(client, cost_s=cost_s)

    def wait_s(self, client: str, work: Work) -> float:
        """Returns `min_wait_s`, and the time of jobs that come later and join this one's batch."""
        wait_s = self.min_wait_s(client, cost_s=work.cost_s)
        return wait_s and wait_s + MAX_BATCH_S * work.cost_s / work.predicted_s

    def submit(self, work: Work, call: CallInfo, *, id_field: bytes) -> bytes | asyncio.Future[bytes]:
        """Returns the reply, or a future of it; cancelling that drops or stops the job.

        While the thread is idle, work of at most `MAX_QUICK_S` is computed at once.

        Raises:
            ComputeError: The engine failed on this job; no other is affected. A future fails with it, too.
            InvalidRequestError: The reply would be too large, which only its prefixes tell. A future, too.
            ExpiredError: Only a future: the deadline passed before the job was computed.
        """
        if self.is_idle and self._is_quick(work):
            return self._compute_now(work.job, id_field)
        reply = self._loop.create_future()
        stop = Stop(call.deadline_s)
        reply.add_done_callback(stop.set)  # a cancelled job ends even while it runs
        pending = self._encoder.start(work.job, id_field=id_field)
        queued = _QueuedJob(work, pending, reply, time.monotonic(), stop)
        with self._changed:
            self._queue.add(queued, client=call.client, cost_s=work.cost_s, share=_batch_share(work))
            self._changed.notify()
        return reply

    async def close(self) -> None:
        """Ends the thread once everything that waits is computed."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        await asyncio.to_thread(self._thread.join)

    def _is_quick(self, work: Work) -> bool:
        # An accelerator takes longer for each step than for what it multiplies.
        if self._engine.device == CPU and work.predicted_s <= MAX_QUICK_S:
            return True
        known_s = self._cost_model.predict_known_s(work.job)
        return known_s <= MAX_QUICK_S and self._engine.is_known(work.job)

    def _compute_now(self, job: Job, id_field: bytes) -> bytes:
        started_s = time.monotonic()
        pending = self._encoder.start(job, id_field=id_field)
        result = self._engine.run_one(job)
        reply = self._encode(job, pending, result, queue_s=0.0, started_s=started_s)
        if isinstance(reply, RequestError):
            raise reply
        self.counters.observe_job(queue_s=0.0, started_s=started_s)
        return reply

    def _run(self) -> None:
        while batch := self._pop_batch():
            self._run_batch(batch)
            del batch  # which refers to all of its replies

    def _run_batch(self, batch: Sequence[_QueuedJob]) -> None:
        try:
            for outcomes in _delivery_groups(self._compute(batch)):
                self._loop.call_soon_threadsafe(_deliver, outcomes)
        except Exception:
            LOG.exception("a batch failed")
            failed = [_Outcome(queued.reply, ComputeError()) for queued in batch]
            self._loop.call_soon_threadsafe(_deliver, failed)  # those that have a reply keep it

    def _pop_batch(self) -> Sequence[_QueuedJob]:
        """Waits for wanted jobs and returns them; empty when closed."""
        with self._changed:
            batch: list[_QueuedJob] = []
            while not batch and (self._queue or not self._is_closed):
                self._is_busy = False
                self._changed.wait_for(lambda: self._queue or self._is_closed)
                self._is_busy = True
                batch = self._queue.pop_batch(self._is_wanted)
            self._busy_until_s = time.monotonic() + sum(queued.work.cost_s for queued in batch)
            return batch

    def _is_wanted(self, queued: _QueuedJob) -> bool:
        """Returns whether a client waits for the reply; counts and reports dropped jobs."""
        if queued.reply.done():  # cancelled
            self.counters.cancelled += 1
            return False
        if queued.stop.deadline_s > time.monotonic():
            return True
        self.counters.expired += 1
        expired = ExpiredError(
            "the deadline passed before the reply was computed; allow more time, or ask less"
        )
        self._loop.call_soon_threadsafe(_deliver, [_Outcome(queued.reply, expired)])
        return False

    def _compute(self, batch: Sequence[_QueuedJob]) -> Iterator[_Outcome]:
        started_s, rows_before = time.monotonic(), self._engine.computed_rows
        begun: list[Work] = []
        stopped_count = 0
        # Each job is checked again when its turn comes: a batch may take longer than predicted.
        is_wanted = lambda index: self._is_wanted(batch[index])  # noqa: E731 - of this batch alone
        jobs, stops = [queued.work.job for queued in batch], [queued.stop for queued in batch]
        results = self._engine.run(jobs, is_wanted=is_wanted, stops=stops)
        for queued, result in zip(batch, results, strict=True):
            if isinstance(result, NotWantedError):
                continue
            begun.append(queued.work)
            if isinstance(result, StoppedError) and not self._is_wanted(queued):
                stopped_count += 1
                continue
            queue_s = started_s - queued.arrived_s
            job, pending = queued.work.job, queued.pending
            reply = self._encode(job, pending, result, queue_s=queue_s, started_s=started_s)
            self.counters.observe_job(queue_s=queue_s, started_s=started_s)
            yield _Outcome(queued.reply, reply)
        taken_s = time.monotonic() - started_s
        # A stopped job would have taken longer.
        if begun and (not stopped_count or taken_s > sum(work.cost_s for work in begun)):
            self._cost_model.observe(begun, taken_s=taken_s)
        row_count = self._engine.computed_rows - rows_before
        self.counters.observe_batch(len(begun) - stopped_count, row_count=row_count, started_s=started_s)

    def _encode(
        self, job: Job, pending: PendingReply, result: Answer | Exception, *, queue_s: float, started_s: float
    ) -> bytes | RequestError:
        """Returns the reply for an engine's result, or the error that the client gets instead."""
        try:
            answer = _answer(result)
            compute_s = time.monotonic() - started_s
            return pending.finish(answer, queue_s=queue_s, compute_s=compute_s)
        except AnswerTooLargeError as error:
            return InvalidRequestError([Violation("words", str(error))])
        except Exception:
            LOG.exception("a job failed: %s", job.network)
            return ComputeError()


def _answer(result: Answer | Exception) -> Answer:
    if isinstance(result, Exception):
        raise result
    return result


def _batch_share(work: Work) -> float:
    """Returns the part of a batch that the job may fill, by its time or by its reply."""
    return max(work.predicted_s / MAX_BATCH_S, work.job.reply_bytes / MAX_BATCH_REPLY_BYTES)


def _delivery_groups(outcomes: Iterable[_Outcome]) -> Iterator[list[_Outcome]]:
    """Yields the outcomes in lists of about `MAX_DELIVERY_BYTES` of replies."""
    group: list[_Outcome] = []
    size = 0
    for outcome in outcomes:
        group.append(outcome)
        size += len(outcome.result) if isinstance(outcome.result, bytes) else 0
        if size >= MAX_DELIVERY_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _deliver(outcomes: Iterable[_Outcome]) -> None:
    """Resolves the futures; runs on the event loop."""
    for reply, result in outcomes:
        if reply.done():  # cancelled while it was computed
            continue
        if isinstance(result, RequestError):
            reply.set_exception(result)
        else:
            reply.set_result(result)
