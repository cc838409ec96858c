"""The service in its caller's process: request bytes in, replies out, without a network or a queue."""

import asyncio
import logging
import math
import threading
import time
from concurrent.futures import Future
from functools import partial
from typing import NamedTuple

import numpy as np
from unrolled.v1 import forward_pb2 as pb
from unrolled.v1.wire import SplitReply

from unrolled_server.array_types import Float32
from unrolled_server.engine import (
    AnswerTooLargeError,
    Job,
    Stop,
    StoppedError,
    drawing_multiplications,
)
from unrolled_server.engine_settings import EngineSettings
from unrolled_server.errors import (
    ComputeError,
    DrainingError,
    ExpiredError,
    InvalidRequestError,
    RequestError,
    Violation,
    error_reply,
)
from unrolled_server.exit_codes import StartupError
from unrolled_server.startup import open_tables, server_info, verified_engine
from unrolled_server.validation.parsing import request_id
from unrolled_server.validation.request import RequestValidator

__all__ = ["InProcessService", "StartupError"]

LOG = logging.getLogger(__name__)

# Larger calls run on a new thread, which costs 0.1 ms: those of the main thread, as Python handles Ctrl-C
# only after a call of the core; those of an event loop, which goes on meanwhile.
MAX_MAIN_THREAD_WORK = 1 << 27
MAX_LOOP_WORK = 1 << 24
# Multiplications that take as long as writing a byte of a reply.
WORK_PER_BYTE = 32
_TOO_LATE = "the deadline passed before the reply was computed; raise timeout_s, or ask less"
_NO_INDEX = np.empty(0, np.int32)


class InProcessService:
    """Answers requests as a server with the same settings does. Any thread or event loop may call it.

    There is no admission and no queue: calls wait for each other on a lock.
    """

    def __init__(self, **settings: object) -> None:
        """Opens the word vectors and verifies the engine.

        Args:
            **settings: See `EngineSettings.of`.

        Raises:
            TypeError: There is no such setting, or one has the wrong type.
            ValueError: The value of a setting is wrong.
            StartupError: As for a server.
        """
        checked = EngineSettings.of(**settings)
        tables = open_tables(checked)
        self._engine = verified_engine(checked, tables.values())
        self._validator = RequestValidator(checked.limits, tables)
        self._describe = partial(server_info, self._engine, checked.limits, tables.values())
        # Shared by replies without an id and a state, as making a message takes a tenth of a small call.
        self._plain_rest = pb.ForwardReply(fingerprint=self._engine.fingerprint)
        self._lock = threading.RLock()  # which knows the thread that has it
        self._running: _Call | None = None
        self._is_closed = False
        self._turns: dict[asyncio.AbstractEventLoop, asyncio.Lock] = {}

    def server_info(self) -> bytes:
        """Returns the GetServerInfoReply of a server with these settings."""
        return self._describe().SerializeToString()

    def forward(
        self, data: bytes, *, timeout_s: float | None = None, out: Float32[np.ndarray, "..."] | None = None
    ) -> SplitReply:
        """Answers a ForwardRequest; Ctrl-C stops it within about 10 ms.

        Args:
            data: The serialised request, which asks for the dense form if `out` is given.
            timeout_s: Seconds that the call may take; None for no deadline.
            out: Where the values are written, such as a slice of a larger array, (batch, seq, hidden) or
                pooled (batch, hidden); its seq may be longer than the words. None for a new array.

        Returns:
            The reply without shape and lengths, which the caller knows. Its arrays are new or `out`. If the
            request is refused, it has an error, as on a stream.
        """
        try:
            call = self._accept(data, timeout_s, out)
            if call.work > MAX_MAIN_THREAD_WORK and threading.current_thread() is threading.main_thread():
                return self._wait(call)
            return self._run(call)
        except RequestError as error:
            return _refused(error, data)

    async def forward_async(
        self, data: bytes, *, timeout_s: float | None = None, out: Float32[np.ndarray, "..."] | None = None
    ) -> SplitReply:
        """Answers as `forward` does, large requests beside the event loop; cancelling it stops them."""
        try:
            await asyncio.sleep(0)  # else a task that makes small calls only would never let others run
            call = self._accept(data, timeout_s, out)
            if call.work <= MAX_LOOP_WORK and self._running is None:
                return self._run(call)
            # One thread at a time for an event loop, which may have thousands of calls.
            async with asyncio.timeout(timeout_s), self._turn():
                try:
                    return await asyncio.wrap_future(self._start(call))
                except asyncio.CancelledError:
                    call.end()
                    raise
        except RequestError as error:
            return _refused(error, data)
        except TimeoutError:
            return _refused(ExpiredError(_TOO_LATE), data)

    def close(self) -> None:
        """Stops running calls and frees the networks and the core's threads; a second call does nothing."""
        self._is_closed = True
        if (running := self._running) is not None:
            running.end()
        with self._lock:
            self._engine.close()

    def _accept(
        self, data: bytes, timeout_s: float | None, out: Float32[np.ndarray, "..."] | None
    ) -> "_Call":
        request = self._validator.validate(data)
        job = request.job
        job.new_values = _new_array if out is None else lambda *_: out
        work = drawing_multiplications(job.network)
        if work > MAX_LOOP_WORK:
            work = self._engine.drawing_multiplications(job.network)  # 0 if it is in memory
        work += job.multiplications + request.byte_count * WORK_PER_BYTE
        deadline_s = math.inf if timeout_s is None else time.monotonic() + timeout_s
        stop = Stop(deadline_s) if work > MAX_LOOP_WORK else None
        return _Call(request.id, job, work, deadline_s, stop)

    def _wait(self, call: "_Call") -> SplitReply:
        """Computes on another thread while this one waits, so that Ctrl-C reaches it."""
        try:
            return self._start(call).result()
        except BaseException:  # Ctrl-C, or the error of the call
            call.end()  # its thread ends by itself, in up to a second while it draws a large network
            raise

    def _start(self, call: "_Call") -> Future[SplitReply]:
        future: Future[SplitReply] = Future()
        future.set_running_or_notify_cancel()  # a cancelled task stops the call, not the future

        def run() -> None:
            try:
                future.set_result(self._run(call))
            except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
                future.set_exception(error)

        threading.Thread(target=run, name="unrolled", daemon=True).start()
        return future

    def _turn(self) -> asyncio.Lock:
        """Returns the lock of the running event loop."""
        loop = asyncio.get_running_loop()
        if loop not in self._turns:
            self._turns = {loop: lock for loop, lock in list(self._turns.items()) if not loop.is_closed()}
            self._turns[loop] = asyncio.Lock()
        return self._turns[loop]

    def _run(self, call: "_Call") -> SplitReply:
        """Waits for other calls until the deadline, and computes."""
        arrived_s = time.monotonic()
        remaining_s = min(call.deadline_s - arrived_s, threading.TIMEOUT_MAX)
        try:  # around acquire(), because Ctrl-C as it returns would leave the lock taken for ever
            if not self._lock.acquire(timeout=max(remaining_s, 0)):
                raise ExpiredError(_TOO_LATE)
            return self._compute(call, arrived_s)
        finally:
            try:  # noqa: SIM105 - Ctrl-C could end `suppress` before it releases
                self._lock.release()
            except RuntimeError:  # this thread does not have it
                pass

    def _compute(self, call: "_Call", arrived_s: float) -> SplitReply:
        started_s = time.monotonic()
        try:
            self._running = call  # before the look at `_is_closed`: `close` stops the call, or it sees that
            if self._is_closed:
                raise DrainingError("the client is closed")
            answer = self._engine.run_one(call.job, call.stop)
        finally:
            self._running = None
        timing = started_s - arrived_s, time.monotonic() - started_s
        if isinstance(answer, Exception):
            raise _request_error(answer, call) from None
        index = _NO_INDEX if answer.index is None else answer.index
        state, rest, h, c = answer.final_state, self._plain_rest, None, None
        if call.id or state is not None:
            rest = pb.ForwardReply(id=call.id, fingerprint=rest.fingerprint)
        if state is not None:
            h, c = state.h, state.c
            rest.final_state.network_digest = call.job.network.digest
        return SplitReply(rest=rest, values=answer.values, index=index, h=h, c=c, timing=timing)


class _Call(NamedTuple):
    """One request that is computed; `work` is in multiplications that take as long.

    Small ones have no `stop`.
    """

    id: str
    job: Job
    work: int
    deadline_s: float
    stop: Stop | None

    def end(self) -> None:
        if self.stop is not None:
            self.stop.set()


def _new_array(shape: tuple[int, ...], *_: object) -> Float32[np.ndarray, "..."]:
    """Implements NewValues."""
    return np.empty(shape, np.float32)


def _request_error(error: Exception, call: _Call) -> RequestError:
    """Returns what a server would send for an exception of the engine."""
    if isinstance(error, AnswerTooLargeError):
        return InvalidRequestError([Violation("words", str(error))])
    if isinstance(error, StoppedError):
        if time.monotonic() < call.deadline_s:
            return DrainingError("the client is closed")
        return ExpiredError(_TOO_LATE)
    LOG.error("a request failed", exc_info=error)
    return ComputeError(f"the computation failed: {type(error).__name__}: {error}")


def _refused(error: RequestError, data: bytes) -> SplitReply:
    return SplitReply(
        rest=error_reply(error, request_id(data)), values=np.empty(0, np.float32), index=_NO_INDEX
    )
