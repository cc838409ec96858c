"""Sends small waiting calls that ask for the same network as one request, because a message costs much more.

A request is formed as late as possible: when there is room for another in flight, it takes the waiting calls.
No timer delays a call. A word's states depend only on the word and the network, so the bits are the same.
"""

import asyncio
import copy
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import grpc
import numpy as np
from numpy.typing import NDArray

from unrolled_client._messages import decoding
from unrolled_client._messages.request import EncodedRequest, Request
from unrolled_client._streaming.sizing import dense_bytes, encode_whole
from unrolled_client.errors import DeadlineError, UnrolledError
from unrolled_client.network import SEED_MASK, Network
from unrolled_client.results import Result

if TYPE_CHECKING:
    from unrolled_client._transport.tracing import Tracing

MAX_CALL_BYTES = 128 << 10
"""Bytes of a call's array up to which it is merged; for larger ones a message's own cost is negligible."""
MAX_IN_FLIGHT = 2
"""Requests of one network in flight: while the server computes one, the client decodes the other."""
MAX_CALLS = 1_024
"""Calls in one request; giving them their rows blocks the event loop for about 10 ms."""
MAX_WORDS = 4_096
"""Words of all calls in one request, with words that several calls share counted for each."""
MAX_REPLY_BYTES = 1 << 20
"""Bytes of a reply's dense array, counted in the same way."""

_FLOAT_BYTES = 4
_MIN_TIMEOUT_S = 1e-3  # for calls whose deadline passes while the request is formed
# Errors that one call's words may have caused, or the size of the merged request.
_SPLIT_CODES = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
    }
)

Send: TypeAlias = Callable[[EncodedRequest, float | None], Awaitable[bytes]]
"""Sends a request with a timeout in seconds and returns the reply's bytes; raises UnrolledError."""
_Network: TypeAlias = tuple[int, int, str, Network]
_GetResult: TypeAlias = Callable[[Request], Result]


def is_mergeable(request: Request) -> bool:
    """Returns whether a call is small and its words are independent, so that it may share a request."""
    is_small = 0 < len(request.words) <= MAX_WORDS and dense_bytes(request) <= MAX_CALL_BYTES
    is_plain = request.initial_state is None and not request.network.return_final_state
    return is_small and request.layout == "batch_first" and is_plain


class Coalescer:
    """Merges the calls of one event loop; cancelling `send` cancels its request."""

    def __init__(self, send: Send, *, target: str, tracing: "Tracing | None" = None) -> None:
        self._send = send
        self._tracing = tracing
        self._target = target
        self._loop = asyncio.get_running_loop()
        self._queues: dict[_Network, _NetworkQueue] = {}

    async def call(self, request: Request, *, timeout_s: float | None) -> Result:
        """Returns the result of a call that `is_mergeable` and has no lone surrogates.

        If it misses its deadline, the calls in the same request continue.
        """
        call = _Call(request, self._loop.create_future())
        if self._tracing is not None:
            call.caller = self._tracing.current_caller()
        timer = None
        if timeout_s is not None:
            call.deadline_s = self._loop.time() + timeout_s
            timer = self._loop.call_at(call.deadline_s, self._expire, call, timeout_s)
        self._queue_for(request).add(call)
        try:
            get_result = await call.future
        except BaseException:  # the caller was cancelled or has reached its deadline
            if call.batch is not None:
                call.batch.abandon_one()
            raise
        finally:
            if timer is not None:
                timer.cancel()
        return get_result(request)

    def close(self, error: UnrolledError) -> None:
        """Cancels the requests in flight; every waiting call raises the error."""
        for queue in self._queues.values():
            queue.close(error)

    def _queue_for(self, request: Request) -> "_NetworkQueue":
        network = (request.hidden_size, request.seed & SEED_MASK, request.alphabet, request.network)
        queue = self._queues.get(network)
        if queue is None:
            queue = _NetworkQueue(self._send, self._tracing, on_idle=lambda: self._queues.pop(network))
            self._queues[network] = queue
        return queue

    def _expire(self, call: "_Call", timeout_s: float) -> None:
        if not call.future.done():
            message = f"{self._target} gave no answer in time ({timeout_s:g} s); raise timeout_s"
            call.future.set_exception(DeadlineError(message, code=grpc.StatusCode.DEADLINE_EXCEEDED))


@dataclass(slots=True, eq=False)
class _Call:
    """A waiting call."""

    request: Request
    future: "asyncio.Future[_GetResult]"
    deadline_s: float | None = None  # on the loop's clock
    batch: "_Batch | None" = None  # None while it waits in the queue
    caller: Any = None  # as `Tracing.current_caller` returns it

    def fail(self, error: Exception) -> None:
        """Raises a copy of the error in the caller, because raising an error modifies it."""
        if not self.future.done():
            self.future.set_exception(copy.copy(error))


class _NetworkQueue:
    """The calls of one network that wait, and its requests in flight. Networks do not wait for each other."""

    def __init__(self, send: Send, tracing: "Tracing | None", *, on_idle: Callable[[], object]) -> None:
        self._send = send
        self._tracing = tracing
        self._on_idle = on_idle
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Call] = deque()
        self._retries: deque[Sequence[_Call]] = deque()
        self._in_flight: dict[asyncio.Task[None], Sequence[_Call]] = {}
        self._is_starting = False

    def add(self, call: _Call) -> None:
        """Queues a call; a request starts in the loop's next iteration if there is room."""
        self._waiting.append(call)
        self._start()

    def close(self, error: UnrolledError) -> None:
        """Cancels the requests in flight; every waiting call raises the error."""
        for call in chain(self._waiting, *self._retries, *self._in_flight.values()):
            call.fail(error)
        for task in self._in_flight:
            task.cancel()

    def _start(self) -> None:
        if self._is_starting or len(self._in_flight) >= MAX_IN_FLIGHT:
            return
        if self._waiting or self._retries:
            self._is_starting = True
            self._in_flight[self._loop.create_task(self._run_request())] = ()
        elif not self._in_flight:
            self._on_idle()

    async def _run_request(self) -> None:
        """Sends one request; chooses its calls now, not when there was room for it."""
        self._is_starting = False
        task = cast("asyncio.Task[None]", asyncio.current_task())
        calls = self._in_flight[task] = self._pop_calls()
        self._start()
        try:
            if calls:
                await self._send_calls(calls)
        finally:
            del self._in_flight[task]
            self._start()

    async def _send_calls(self, calls: Sequence[_Call]) -> None:
        """Answers the calls, or queues two halves again so that only the calls at fault fail."""
        batch = None
        try:
            batch = _Batch(calls)
            callers = [call.caller for call in calls]
            with nullcontext() if self._tracing is None else self._tracing.on_behalf_of(callers):
                await batch.run(self._send, now_s=self._loop.time())
        except Exception as error:  # noqa: BLE001 - each caller raises it
            halves = batch.halves(error) if batch and isinstance(error, UnrolledError) else ()
            self._retries.extend(halves)
            if not halves:
                for call in calls:
                    call.fail(error)

    def _pop_calls(self) -> Sequence[_Call]:
        """Returns the calls of the next request; empty if all waiting calls were abandoned."""
        if self._retries:
            return [call for call in self._retries.popleft() if not call.future.done()]
        calls: list[_Call] = []
        words = seq = 0
        while self._waiting and len(calls) < MAX_CALLS:
            request = self._waiting[0].request
            words += len(request.words)
            seq = max(seq, *request.lengths)
            is_too_large = words > MAX_WORDS or words * seq * request.hidden * _FLOAT_BYTES > MAX_REPLY_BYTES
            if calls and is_too_large:
                break
            call = self._waiting.popleft()
            if not call.future.done():
                calls.append(call)
        return calls


class _Batch:
    """One or more calls whose words form one request, each word once."""

    def __init__(self, calls: Sequence[_Call]) -> None:
        self.calls = calls
        self._abandoned_count = 0
        self._task: asyncio.Task[None] | None = None
        for call in calls:
            call.batch = self
        # A single call's words are sent as they are, so that the server's errors name the right words[i].
        request, self._positions = calls[0].request, None
        if len(calls) > 1:
            words = dict.fromkeys(chain.from_iterable([call.request.words for call in calls]))
            self._positions = dict(zip(words, range(len(words)), strict=True))
            request = request.with_words(list(words))
        self._sent = encode_whole(request)

    async def run(self, send: Send, *, now_s: float) -> None:
        """Sends the request and answers every call."""
        self._task = asyncio.current_task()
        data = await send(self._sent, self._timeout_s(now_s))
        get_result = self._decode(data)
        for call in self.calls:
            if not call.future.done():
                call.future.set_result(get_result)

    def _timeout_s(self, now_s: float) -> float | None:
        """Returns the time until the last call's deadline."""
        deadlines_s = [call.deadline_s for call in self.calls]
        if None in deadlines_s:
            return None
        last_s = max(deadline_s for deadline_s in deadlines_s if deadline_s is not None)
        return max(last_s - now_s, _MIN_TIMEOUT_S)

    def _decode(self, data: bytes) -> _GetResult:
        if self._positions is None:
            result = decoding.decode_reply(data, self._sent)
            return lambda _request: result
        reply, positions = decoding.parse_reply(data), self._positions
        received, timing = decoding.read_outputs(reply, self._sent), decoding.read_timing(reply)
        fingerprint = reply.rest.fingerprint

        def get_result(request: Request) -> Result:
            at = [positions[word] for word in request.words]
            outputs = _rows_of_call(received, at, seq=max(request.lengths))
            return decoding.make_result(request, outputs=outputs, timing=timing, fingerprint=fingerprint)

        return get_result

    def abandon_one(self) -> None:
        """Cancels the request with the last of its calls."""
        self._abandoned_count += 1
        if self._abandoned_count == len(self.calls) and self._task is not None:
            self._task.cancel()

    def halves(self, error: UnrolledError) -> tuple[Sequence[_Call], ...]:
        """Returns what to send again after an error: nothing if it concerns all calls, or the only one."""
        concerns_all = error.violations and not any(v.field.startswith("words") for v in error.violations)
        if concerns_all or error.code not in _SPLIT_CODES or error.retry_after_s is not None:
            return ()
        middle = len(self.calls) // 2
        return (self.calls[:middle], self.calls[middle:]) if middle else ()


def _rows_of_call(received: decoding.Outputs, at: list[int], *, seq: int) -> NDArray[np.float32]:
    """Returns the rows of one call's words, cut to its own longest word, in memory of their own."""
    if len(received.shape) == 2:  # noqa: PLR2004 - pooled, (batch, hidden)
        return received.rows[at]
    if received.index is None:
        return received.rows.reshape(received.shape)[at, :seq]
    return received.rows[received.index[at, :seq]]
