"""The requests of one stream: decides what to send next, what waits for a reply and what to send again.

It does no I/O, reads no clock and starts no thread: `driver` and `aio_driver` run it.
"""

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from unrolled.v1 import forward_pb2 as pb
from unrolled.v1.wire import SplitReply

from unrolled_client._messages.decoding import parse_reply
from unrolled_client._messages.request import EncodedRequest
from unrolled_client.errors import ProtocolError, UnavailableError, UnrolledError, error_from_refusal
from unrolled_client.results import Outcome, Result

_Batch = TypeVar("_Batch")
Error = TypeVar("Error", bound=UnrolledError)

NOT_YET: Any = object()
"""Returned by an iterator of batches while the next one is not ready; see `Exchange.is_starved`."""
MAX_BYTES_IN_FLIGHT = 16 << 20
"""Bytes of replies that may be outstanding on a stream; the last request may exceed it."""
MAX_REQUESTS_IN_FLIGHT = 64
FIRST_REQUESTS_IN_FLIGHT = 2
"""Enough to keep a server busy: one request that is computed and one that waits."""
SHORT_QUEUE_S = 0.1
"""A request that waited less on the server lets one more be in flight."""
LONG_QUEUE_S = 1.0
"""A request that waited longer lets one fewer be in flight; a refused one halves their number."""
MAX_ATTEMPTS = 5
"""Streams in a row that may break without a reply before the call fails, as many as for unary calls."""
MAX_ATTEMPTS_ONCE_ANSWERED = 10
"""The same after the first reply of a call without a timeout: about 5 s, enough for a server to restart."""
_FIRST_BACKOFF_S = 0.1
_MAX_BACKOFF_S = 1.0


class Assembly(Protocol):
    """One call: makes its requests, and its result from their replies, which come in any order."""

    part_count: int  # number of requests, 1 or more

    def encode(self, at: int, *, request_id: str) -> EncodedRequest:
        """Returns request number `at`, which is sent next; called again after a broken stream."""

    def reply_bytes(self, at: int) -> int:
        """Returns about how many bytes the reply to request `at` has."""

    def place(self, at: int, reply: SplitReply, *, request: EncodedRequest) -> None:
        """Stores the reply to request `at`; raises ProtocolError if it does not fit."""

    def renamed(self, at: int, error: Error) -> Error:
        """Returns the server's error for request `at`, with the words' indices in the caller's list."""

    def result(self) -> Result:
        """Returns the call's result, once every request has its reply."""


@dataclass(slots=True, kw_only=True, eq=False)
class _Item:
    """A batch in progress."""

    index: int
    assembly: Assembly
    unsent: deque[int]
    left_count: int  # parts without a reply
    is_over: bool = False  # its outcome is known; further replies are dropped


@dataclass(slots=True, kw_only=True, eq=False)
class _Part:
    """A request in progress, number `at` of its batch; `request` is what was sent."""

    item: _Item
    at: int
    request_id: str
    byte_count: int = 0  # of the larger of its messages
    request: EncodedRequest | None = field(default=None, repr=False)


class Exchange(Generic[_Batch]):
    """The requests of many batches on a stream, bounded in number and bytes. For one thread or task.

    How many requests are in flight follows the time that they wait on the server.

    Attributes:
        is_starved: Whether the latest `next_request` had room for a batch that was not ready.
        batch_count: The number of batches, if it is known.
        part_count: The number of requests that the batches taken so far consist of.
        done_count: The number of these that have a reply, other than a refusal that says when to retry.
    """

    def __init__(  # noqa: PLR0913 - what calls differ in, by name
        self,
        batches: Iterator[_Batch],
        *,
        assemble: Callable[[_Batch], Assembly],
        network_key: Callable[[], str] = str,
        is_ordered: bool = True,
        max_in_flight: int,
        batch_count: int | None = None,
        on_broken: Callable[[], None] = lambda: None,
        can_resend: Callable[[UnrolledError], bool] = lambda _error: False,
    ) -> None:
        """Stores the batches, which are taken one by one when there is room, and may be `NOT_YET`.

        What `assemble` raises is the batch's outcome. `network_key` is for the stream's first network.
        `max_in_flight` bounds the batches that are taken and not returned as outcomes. `on_broken` is called
        when a stream broke, and with it what the server had stored for it; `can_resend` returns whether a
        refused request may be encoded and sent again at once.
        """
        self.batches = batches
        self.batch_count = batch_count
        self.part_count = 0
        self.done_count = 0
        self._indices = itertools.count()
        self.is_starved = False
        self._assemble = assemble
        self._network_key = network_key
        self._is_ordered = is_ordered
        self._max_in_flight = max_in_flight
        self._on_broken = on_broken
        self._can_resend = can_resend
        self._open_count = 0
        self._is_exhausted = False
        self._current: _Item | None = None
        self._resend: deque[_Part] = deque()
        self._delayed: list[tuple[float, int, _Part]] = []
        self._waiting: dict[str, _Part] = {}
        self._bytes_in_flight = 0
        self._max_requests = FIRST_REQUESTS_IN_FLIGHT
        self._ids = itertools.count()
        self._outcomes: dict[int, Outcome] = {}
        self._next_index = 0
        self._broken_stream_count = 0

    @property
    def network_key(self) -> str:
        return self._network_key()

    @property
    def is_waiting(self) -> bool:
        """Whether replies are outstanding."""
        return bool(self._waiting)

    @property
    def is_done(self) -> bool:
        """Whether `next_outcome` has returned the outcome of every batch."""
        return self._is_exhausted and not self._open_count

    def next_request(self, *, now_s: float) -> EncodedRequest | None:
        """Returns a request to send now; None if there is no room, or nothing to send yet."""
        self.is_starved = False
        part = self._next_part(now_s) if self._has_room() else None
        if part is None:
            return None
        # Encoded for each attempt: what a request may leave out depends on what its stream has carried.
        part.request = part.item.assembly.encode(part.at, request_id=part.request_id)
        part.byte_count = max(len(part.request.data), part.item.assembly.reply_bytes(part.at))
        self._waiting[part.request_id] = part
        self._bytes_in_flight += part.byte_count
        return part.request

    def receive(self, data: bytes, *, now_s: float) -> None:
        """Processes a message from the stream."""
        self.receive_reply(parse_reply(data), now_s=now_s)

    def receive_reply(self, reply: SplitReply, *, now_s: float) -> None:
        """Processes a reply that is parsed."""
        self._broken_stream_count = 0
        part = self._waiting.pop(reply.rest.id, None)
        if part is None or part.request is None:
            raise ProtocolError(f"the reply's id is {reply.rest.id!r}; no request of that id waits")
        self._bytes_in_flight -= part.byte_count
        if part.item.is_over:
            return
        if reply.rest.HasField("error"):
            self._handle_error(part, reply.rest.error, now_s=now_s)
            return
        self.done_count += 1
        self._adapt(reply.rest.timing.queue_s)
        try:
            part.item.assembly.place(part.at, reply, request=part.request)
        except UnrolledError as error:
            self._finish(part.item, error)
            return
        part.item.left_count -= 1
        if not part.item.left_count:
            self._finish(part.item)

    def next_outcome(self) -> Outcome | None:
        """Returns the next outcome; None if it has not arrived."""
        if not self._outcomes:
            return None
        index = self._next_index if self._is_ordered else next(iter(self._outcomes))
        if index not in self._outcomes:
            return None
        self._next_index += 1
        self._open_count -= 1
        return self._outcomes.pop(index)

    def handle_broken_stream(self, error: UnrolledError, *, jitter: float, has_timeout: bool) -> float:
        """Schedules unanswered requests for another stream; returns the seconds to wait before it.

        Raises the error if another stream would not help, or if too many broke in a row: after the first
        reply only without a timeout, which otherwise ends the call. `jitter`, from 0 to 1, spreads the
        clients that lost the same server.
        """
        self._broken_stream_count += 1
        max_attempts = MAX_ATTEMPTS_ONCE_ANSWERED if self.done_count else MAX_ATTEMPTS
        is_last = self._broken_stream_count >= max_attempts and not (has_timeout and self.done_count)
        if error.retry_after_s is None and (is_last or not isinstance(error, UnavailableError)):
            raise error
        self._resend.extendleft(reversed(self._waiting.values()))
        self._waiting.clear()
        self._bytes_in_flight = 0
        self._max_requests = FIRST_REQUESTS_IN_FLIGHT
        self._on_broken()
        if error.retry_after_s is not None:
            return error.retry_after_s
        doublings = min(self._broken_stream_count, MAX_ATTEMPTS) - 1
        return min(_FIRST_BACKOFF_S * 2.0**doublings, _MAX_BACKOFF_S) * (0.5 + jitter / 2)

    def delay_s(self, *, now_s: float) -> float:
        """Returns the seconds until the next delayed request may be sent."""
        return max(0.0, self._delayed[0][0] - now_s) if self._delayed else 0.0

    def _has_room(self) -> bool:
        return self._bytes_in_flight < MAX_BYTES_IN_FLIGHT and len(self._waiting) < self._max_requests

    def _adapt(self, queue_s: float) -> None:
        """Changes the number of requests that may be in flight, after one that waited so long."""
        change = (queue_s < SHORT_QUEUE_S) - (queue_s > LONG_QUEUE_S)
        self._max_requests = min(max(self._max_requests + change, 1), MAX_REQUESTS_IN_FLIGHT)

    def _next_part(self, now_s: float) -> _Part | None:
        while self._delayed and self._delayed[0][0] <= now_s:
            self._resend.append(heapq.heappop(self._delayed)[-1])
        while self._resend:
            part = self._resend.popleft()
            if not part.item.is_over:
                return part
        # A server that wants to be asked later is asked nothing new until then.
        item = None if self._delayed else self._item_to_send()
        if item is None:
            return None
        return _Part(item=item, at=item.unsent.popleft(), request_id=str(next(self._ids)))

    def _item_to_send(self) -> _Item | None:
        """Returns the batch whose next part to send; takes another after a batch's last part."""
        while self._current is None or self._current.is_over or not self._current.unsent:
            if self._is_exhausted or self.is_starved or self._open_count >= self._max_in_flight:
                return None
            self._current = self._take_batch()
        return self._current

    def _take_batch(self) -> _Item | None:
        """Returns the next batch; None at the end, if none is ready, or if the batch is invalid."""
        try:
            batch = next(self.batches)
        except StopIteration:
            self._is_exhausted = True
            return None
        if batch is NOT_YET:
            self.is_starved = True
            return None
        index = next(self._indices)
        self._open_count += 1
        try:
            assembly = self._assemble(batch)
        except (UnrolledError, TypeError) as error:
            self._outcomes[index] = Outcome(index=index, error=error)
            return None
        count = assembly.part_count
        self.part_count += count
        return _Item(index=index, assembly=assembly, unsent=deque(range(count)), left_count=count)

    def _handle_error(self, part: _Part, refusal: pb.RequestError, *, now_s: float) -> None:
        """Sends a request again later if the server says when; else its batch has failed."""
        error = error_from_refusal(refusal)
        if self._can_resend(error):
            self._resend.append(part)
        elif error.retry_after_s is not None:
            self._max_requests = max(self._max_requests // 2, 1)
            heapq.heappush(self._delayed, (now_s + error.retry_after_s, next(self._ids), part))
        else:
            self.done_count += 1
            self._finish(part.item, part.item.assembly.renamed(part.at, error))

    def _finish(self, item: _Item, error: UnrolledError | None = None) -> None:
        item.is_over = True
        item.unsent.clear()
        value = item.assembly.result() if error is None else None
        self._outcomes[item.index] = Outcome(index=item.index, value=value, error=error)
