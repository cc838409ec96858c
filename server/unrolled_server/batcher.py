"""Between the event loop and the engine: what waits, and what is computed next.

A batch is formed late: when the compute thread is free it takes what waits, and no timer makes anybody wait
for company. Everything that touches the engine happens in the compute thread, reply bytes included, so the
event loop only hands them over. The exception is small work that the engine already knows: while the compute
thread is idle it is answered on the loop, since the hop to a thread would cost more than the work.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from unrolled_server.engine import Answer, Engine, Job
from unrolled_server.errors import ComputeError

LOG = logging.getLogger(__name__)
MAX_BATCH_JOBS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Computed:
    """One job's answer and where its time went, in seconds. Its memory is borrowed: copy it at once."""

    answer: Answer
    queue_s: float
    compute_s: float


Encode = Callable[[Computed], bytes]
"""Makes the reply's bytes; runs wherever the job was computed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Waiting:
    job: Job
    encode: Encode
    reply: asyncio.Future[bytes]
    arrived_s: float = field(default_factory=time.monotonic)


class _Outcome(NamedTuple):
    reply: asyncio.Future[bytes]
    result: bytes | Exception


class Batcher:
    """Runs jobs on one engine from one event loop."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._is_busy = False
        self._is_closed = False
        self._thread = threading.Thread(target=self._compute, name="compute")
        self._thread.start()

    async def submit(self, job: Job, encode: Encode) -> bytes:
        """The reply to `job`, as `encode` makes it.

        Raises:
            ComputeError: The engine failed on this job; no other job is touched.
        """
        entry = _Waiting(job=job, encode=encode, reply=self._loop.create_future())
        if self._is_idle() and self._engine.is_quick(job):
            _hand_over(self._run([entry]))
        else:
            with self._changed:
                self._waiting.append(entry)
                self._changed.notify()
        return await entry.reply

    async def close(self) -> None:
        """Ends the compute thread once everything that waits is computed."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        await asyncio.to_thread(self._thread.join)

    def _is_idle(self) -> bool:
        """Only the loop adds work, so what is idle here stays idle until the loop's code gives way."""
        with self._changed:
            return not self._is_busy and not self._waiting

    def _compute(self) -> None:
        while batch := self._take():
            # One hand-over a batch: waking the loop costs more than most replies.
            self._loop.call_soon_threadsafe(_hand_over, list(self._run(batch)))

    def _take(self) -> Sequence[_Waiting]:
        """What waits, oldest first, as soon as there is any; empty when closed."""
        with self._changed:
            self._is_busy = False
            self._changed.wait_for(lambda: self._waiting or self._is_closed)
            self._is_busy = True
            count = min(len(self._waiting), MAX_BATCH_JOBS)
            return [self._waiting.popleft() for _ in range(count)]

    def _run(self, batch: Sequence[_Waiting]) -> Iterator[_Outcome]:
        wanted = [entry for entry in batch if not entry.reply.done()]  # done: its caller is gone
        started_s = time.monotonic()
        results = self._engine.run([entry.job for entry in wanted])
        for entry in wanted:
            try:
                computed = Computed(
                    answer=_answer(next(results)),
                    queue_s=started_s - entry.arrived_s,
                    compute_s=time.monotonic() - started_s,
                )
                yield _Outcome(entry.reply, entry.encode(computed))
            except Exception:
                LOG.exception("a job failed: %s", entry.job.network)
                yield _Outcome(
                    entry.reply, ComputeError("the server failed on this request; its log says why")
                )


def _answer(result: Answer | Exception) -> Answer:
    if isinstance(result, Exception):
        raise result
    return result


def _hand_over(outcomes: Iterable[_Outcome]) -> None:
    """Gives each caller its reply; runs on the loop, where futures belong."""
    for reply, result in outcomes:
        if reply.done():  # the caller left while it was computed
            continue
        if isinstance(result, Exception):
            reply.set_exception(result)
        else:
            reply.set_result(result)
