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

from unrolled_server.engine import Answer, AnswerTooLargeError, Engine, Job
from unrolled_server.errors import ComputeError, InvalidRequestError, RequestError, Violation
from unrolled_server.fair_queue import FairQueue

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

    def __init__(self, engines: Sequence[Engine]) -> None:
        self._lanes = [_Lane(engine, name=f"compute-{at}") for at, engine in enumerate(engines)]

    def start(self, job: Job, encode: Encode) -> bytes | asyncio.Future[bytes]:
        """The reply to `job`, as `encode` makes it: at once if the work is small and known.

        Cancelling the future drops the job if it still waits.

        Raises:
            ComputeError: The engine failed on this job, no other is touched. The future fails with it, too.
            InvalidRequestError: The reply would be too large, which only its prefixes tell; as above.
        """
        lane = self._lanes[hash(job.network) % len(self._lanes)]
        return lane.answer_at_once(job, encode) or lane.enqueue(job, encode)

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


class _Outcome(NamedTuple):
    reply: asyncio.Future[bytes]
    result: bytes | RequestError


class _Lane:
    """One engine, its thread, and what waits for it. Used from one event loop."""

    def __init__(self, engine: Engine, *, name: str) -> None:
        self._engine = engine
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
        return reply

    def enqueue(self, job: Job, encode: Encode) -> asyncio.Future[bytes]:
        """The reply to `job`, computed in the thread."""
        entry = _Waiting(job, encode, self._loop.create_future(), time.monotonic())
        with self._changed:
            self._queue.add(entry, network=job.network, share=batch_share(job))
            self._changed.notify()
        return entry.reply

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
            for outcomes in _handfuls(self._run(batch)):
                self._loop.call_soon_threadsafe(_hand_over, outcomes)

    def _take(self) -> Sequence[_Waiting]:
        """What waits, as soon as there is any; empty when closed."""
        with self._changed:
            self._is_busy = False
            self._changed.wait_for(lambda: self._queue or self._is_closed)
            self._is_busy = True
            return self._queue.take()

    def _run(self, batch: Sequence[_Waiting]) -> Iterator[_Outcome]:
        wanted = [entry for entry in batch if not entry.reply.done()]  # done: its caller is gone
        started_s = time.monotonic()
        results = self._engine.run([entry.job for entry in wanted])
        for entry in wanted:
            result = next(results)
            queue_s = started_s - entry.arrived_s
            reply = _reply_to(entry.job, entry.encode, result, queue_s=queue_s, started_s=started_s)
            yield _Outcome(entry.reply, reply)


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
