"""Calls that wait for the wire and ask the same network travel as one request.

A message costs as much as hundreds of small words, so many callers are served best by few messages. A request
is formed late: when the wire has room it takes what waits, and no timer makes anybody wait for company.

It is a file of its own because it knows no channel: it is given a way to send, and hands every caller its own
rows. A word's states depend on the word and the network alone, so merging changes no bit.
"""

import asyncio
import copy
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import grpc

from unrolled_client._messages.decoding import States, decode_reply, result_of, split, states_in, timing_in
from unrolled_client._messages.encoding import EncodedRequest, Request
from unrolled_client._streaming.sizing import dense_bytes, encode_whole
from unrolled_client.errors import DeadlineError, UnrolledError
from unrolled_client.network import SEED_MASK, Network
from unrolled_client.results import Result, Timing

if TYPE_CHECKING:
    from unrolled_client._transport.tracing import Tracing

MAX_CALL_BYTES = 128 << 10
"""Bytes of a call's array up to which it is merged; beyond, a message's own cost hardly shows."""
MAX_IN_FLIGHT = 2
"""Requests of one network under way: while the server computes one, the client takes the other apart."""
MAX_CALLS = 1_024
"""Callers of one request; handing them their rows holds the event loop for about 10 ms."""
MAX_WORDS = 4_096
"""Words of all callers of one request, counted before those that they share."""
MAX_REPLY_BYTES = 1 << 20
"""Bytes of one reply's dense array, counted in the same way."""

_NOBODY = nullcontext()
_FLOAT_BYTES = 4
_MIN_TIMEOUT_S = 1e-3  # for those whose deadline comes while they are put together
# Where the words of one caller may be to blame, or the size that merging gave the request.
_SPLIT_CODES = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
    }
)

Send: TypeAlias = Callable[[EncodedRequest, float | None], Awaitable[bytes]]
"""Sends a request with a timeout in seconds and gives the reply's bytes; raises UnrolledError."""
_Network: TypeAlias = tuple[int, int, str, Network]
_Answer: TypeAlias = Callable[[Request], Result]


def is_mergeable(request: Request) -> bool:
    """Whether a call may share a message: its words are independent, and it is small."""
    is_small = 0 < len(request.words) <= MAX_WORDS and dense_bytes(request) <= MAX_CALL_BYTES
    is_plain = request.initial_state is None and not request.network.return_final_state
    return is_small and request.layout == "batch_first" and is_plain


class Merger:
    """Merges the calls of one event loop.

    Args:
        send: Sends one request. Cancelling it ends the request.
        target: Whom messages name.
        tracing: Tells on whose behalf a request is sent; None where nobody wants to know.
    """

    def __init__(self, send: Send, *, target: str, tracing: "Tracing | None" = None) -> None:
        self._send = send
        self._tracing = tracing
        self._target = target
        self._loop = asyncio.get_running_loop()
        self._lanes: dict[_Network, _Lane] = {}

    async def ask(self, request: Request, *, timeout_s: float | None) -> Result:
        """The result of one call that `is_mergeable` and whose text can travel.

        Raises:
            DeadlineError: No answer within `timeout_s`; the calls that travel with it go on.
            UnrolledError: The server refused this call, or could not be asked.
        """
        call = _Call(request, self._loop.create_future())
        if self._tracing is not None:
            call.caller = self._tracing.caller()
        timer = None
        if timeout_s is not None:
            call.deadline_s = self._loop.time() + timeout_s
            timer = self._loop.call_at(call.deadline_s, self._expire, call, timeout_s)
        self._lane(request).add(call)
        try:
            answer = await call.future
        except BaseException:
            call.leave()
            raise
        finally:
            if timer is not None:
                timer.cancel()
        return answer(request)

    def close(self, error: UnrolledError) -> None:
        """Ends what is under way; every caller that waits gets the error."""
        for lane in self._lanes.values():
            lane.close(error)

    def _lane(self, request: Request) -> "_Lane":
        network = (request.hidden_size, request.seed & SEED_MASK, request.alphabet, request.network)
        lane = self._lanes.get(network)
        if lane is None:
            lane = _Lane(self._send, self._tracing, on_idle=lambda: self._lanes.pop(network))
            self._lanes[network] = lane
        return lane

    def _expire(self, call: "_Call", timeout_s: float) -> None:
        if not call.future.done():
            message = f"{self._target} gave no answer in time ({timeout_s:g} s); raise timeout_s"
            call.future.set_exception(DeadlineError(message, code=grpc.StatusCode.DEADLINE_EXCEEDED))


class _Call:
    """A caller that waits.

    Attributes:
        request: What it asks.
        future: Gets what gives its result.
        deadline_s: On the loop's clock; None for no end.
        batch: With whom it travels; None while it waits for the wire.
        caller: As `Tracing.caller` gives it.
    """

    __slots__ = ("batch", "caller", "deadline_s", "future", "request")

    def __init__(self, request: Request, future: "asyncio.Future[_Answer]") -> None:
        self.request = request
        self.future = future
        self.deadline_s: float | None = None
        self.batch: _Batch | None = None
        self.caller: Any = None

    def leave(self) -> None:
        """Says that nobody waits any more."""
        if self.batch is not None:
            self.batch.leave()

    def fail(self, error: Exception) -> None:
        """Hands the caller an error of its own, because raising one adds to it."""
        if not self.future.done():
            self.future.set_exception(copy.copy(error))


class _Lane:
    """What waits for one network, and what is under way.

    Networks do not wait for each other: their calls could not be merged, and the server takes many at once.
    """

    def __init__(self, send: Send, tracing: "Tracing | None", *, on_idle: Callable[[], object]) -> None:
        self._send = send
        self._tracing = tracing
        self._on_idle = on_idle
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Call] = deque()
        self._again: deque[Sequence[_Call]] = deque()
        self._under_way: dict[asyncio.Task[None], Sequence[_Call]] = {}
        self._is_starting = False

    def add(self, call: _Call) -> None:
        """Takes a call; a request starts with the loop's next turn if there is room."""
        self._waiting.append(call)
        self._start()

    def close(self, error: UnrolledError) -> None:
        """Ends what is under way."""
        for call in chain(self._waiting, *self._again, *self._under_way.values()):
            call.fail(error)
        for task in self._under_way:
            task.cancel()

    def _start(self) -> None:
        if self._is_starting or len(self._under_way) >= MAX_IN_FLIGHT:
            return
        if self._waiting or self._again:
            self._is_starting = True
            self._under_way[self._loop.create_task(self._carry())] = ()
        elif not self._under_way:
            self._on_idle()

    async def _carry(self) -> None:
        """One request there and back. What to send is decided now, not when there was room for it."""
        self._is_starting = False
        task = cast("asyncio.Task[None]", asyncio.current_task())
        calls = self._under_way[task] = self._take()
        self._start()
        try:
            if calls:
                await self._travel(calls)
        finally:
            del self._under_way[task]
            self._start()

    async def _travel(self, calls: Sequence[_Call]) -> None:
        """Answers the calls, or puts them back in two halves so that only those to blame are refused."""
        batch = None
        try:
            batch = _Batch(calls)
            with self._on_behalf_of(calls):
                await batch.travel(self._send, now_s=self._loop.time())
        except Exception as error:  # noqa: BLE001 - each caller raises it
            halves = batch.halves(error) if batch and isinstance(error, UnrolledError) else ()
            self._again.extend(halves)
            if not halves:
                for call in calls:
                    call.fail(error)

    def _on_behalf_of(self, calls: Sequence[_Call]) -> AbstractContextManager[None]:
        if self._tracing is None:
            return _NOBODY
        return self._tracing.of_callers([call.caller for call in calls])

    def _take(self) -> Sequence[_Call]:
        """Who travels together next; empty if all who waited have left."""
        if self._again:
            return [call for call in self._again.popleft() if not call.future.done()]
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
    """Callers whose words travel as one request, each word once.

    Attributes:
        calls: The callers, one or more.
    """

    def __init__(self, calls: Sequence[_Call]) -> None:
        self.calls = calls
        self._left_count = 0
        self._task: asyncio.Task[None] | None = None
        for call in calls:
            call.batch = self
        # One caller's words go as they are: what the server says of words[3] is then true for the caller.
        self._places = _places(calls) if len(calls) > 1 else None
        request = calls[0].request
        self._sent = encode_whole(request if self._places is None else request.with_words(list(self._places)))

    async def travel(self, send: Send, *, now_s: float) -> None:
        """Sends the request and answers every caller.

        Raises:
            UnrolledError: The request was refused; nobody has an answer.
        """
        self._task = asyncio.current_task()
        data = await send(self._sent, self._timeout_s(now_s))
        answer = self._answer(data)
        for call in self.calls:
            if not call.future.done():
                call.future.set_result(answer)

    def _timeout_s(self, now_s: float) -> float | None:
        """Until the last caller's deadline; the others leave at theirs."""
        deadlines_s = [call.deadline_s for call in self.calls]
        if None in deadlines_s:
            return None
        last_s = max(deadline_s for deadline_s in deadlines_s if deadline_s is not None)
        return max(last_s - now_s, _MIN_TIMEOUT_S)

    def _answer(self, data: bytes) -> _Answer:
        if self._places is None:
            result = decode_reply(data, self._sent)
            return lambda _request: result
        reply = split(data)
        return _Shared(
            states=states_in(reply, self._sent),
            places=self._places,
            timing=timing_in(reply),
            fingerprint=reply.rest.fingerprint,
        ).result

    def leave(self) -> None:
        """One caller is gone; with the last one the request ends."""
        self._left_count += 1
        if self._left_count == len(self.calls) and self._task is not None:
            self._task.cancel()

    def halves(self, error: UnrolledError) -> tuple[Sequence[_Call], ...]:
        """What to send again after a refusal: nothing if all callers are meant by it, or one is alone."""
        concerns_all = error.violations and not any(v.field.startswith("words") for v in error.violations)
        if concerns_all or error.code not in _SPLIT_CODES or error.retry_after_s is not None:
            return ()
        middle = len(self.calls) // 2
        return (self.calls[:middle], self.calls[middle:]) if middle else ()


def _places(calls: Sequence[_Call]) -> dict[str, int]:
    """Where each word stands in the merged request."""
    words = dict.fromkeys(chain.from_iterable([call.request.words for call in calls]))
    return dict(zip(words, range(len(words)), strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shared:
    """A merged reply."""

    states: States
    places: dict[str, int]
    timing: Timing
    fingerprint: str

    def result(self, request: Request) -> Result:
        """One caller's rows, cut to its own longest word, in memory of their own."""
        places = [self.places[word] for word in request.words]
        rows, index = self.states.rows, self.states.index
        if request.network.is_pooled:
            outputs = rows[places]
        elif index is None:
            outputs = rows.reshape(self.states.shape)[places, : max(request.lengths)]
        else:
            outputs = rows[index[places, : max(request.lengths)]]
        return result_of(request, outputs=outputs, timing=self.timing, fingerprint=self.fingerprint)
