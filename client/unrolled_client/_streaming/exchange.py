"""What goes over one stream: which request next, which wait for an answer, which must be sent again.

It decides and waits for nothing: no connection, no clock, no thread. The loops that drive it, one for threads
(`_stream.py`) and one for coroutines, send what `next_message` gives and hand every message to `receive`.
"""

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import grpc
from unrolled.v1 import forward_pb2 as pb

from unrolled_client._messages.decoding import split
from unrolled_client._messages.encoding import EncodedRequest
from unrolled_client._streaming.sizing import Assembly
from unrolled_client.errors import (
    ProtocolError,
    UnavailableError,
    UnrolledError,
    error_from_status,
)
from unrolled_client.results import Outcome

_Batch = TypeVar("_Batch")

NOT_YET: Any = object()
"""What an iterator of batches gives while it waits for the next one; see `Exchange.is_starved`."""
MAX_BYTES_IN_FLIGHT = 16 << 20
"""Bytes of replies that may be outstanding; the last request may pass it."""
MAX_REQUESTS_IN_FLIGHT = 64
MAX_ATTEMPTS = 5
"""Streams in a row that break without a reply before the call fails; the same as for unary calls."""
MAX_ATTEMPTS_ONCE_ANSWERED = 10
"""The same once there was a reply: about 5 s, in which a server that ended can be there again."""
_FIRST_BACKOFF_S = 0.1
_MAX_BACKOFF_S = 1.0
_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


@dataclass(slots=True, kw_only=True, eq=False)
class _Item:
    """One batch on its way.

    Attributes:
        index: Its place in the input.
        assembly: Its parts.
        unsent: Parts that were never sent.
        left_count: Parts without an answer.
        is_over: Whether its outcome is known; answers that still come are dropped.
    """

    index: int
    assembly: Assembly
    unsent: deque[int]
    left_count: int
    is_over: bool = False


@dataclass(slots=True, kw_only=True, eq=False)
class _Part:
    """One request on its way.

    Attributes:
        item: The batch that it belongs to.
        at: Its number there.
        request_id: Its name on the stream.
        reply_bytes: What its reply weighs, about.
        request: What was sent, while an answer is due.
    """

    item: _Item
    at: int
    request_id: str
    reply_bytes: int
    request: EncodedRequest | None = field(default=None, repr=False)


class Exchange(Generic[_Batch]):
    """The requests of many batches on a stream, bounded in number and bytes. For one thread or task.

    Attributes:
        batches: As given.
        is_waiting: Whether an answer is due, so that the next thing to do is to read.
        is_done: Whether every batch has its outcome and all were handed out.
        is_delaying: Whether a request is to be sent later.
        is_starved: Whether the latest `next_message` had room for a batch that was not there yet.
    """

    def __init__(  # noqa: PLR0913 - what calls differ in, by name
        self,
        batches: Iterator[_Batch],
        *,
        assemble: Callable[[_Batch], Assembly],
        network_key: Callable[[], str] = str,
        is_ordered: bool = True,
        max_in_flight: int,
        on_broken: Callable[[], None] = lambda: None,
        may_mend: Callable[[UnrolledError], bool] = lambda _error: False,
    ) -> None:
        """Takes the batches; none is asked for yet.

        Args:
            batches: Taken one by one, when there is room. It may give `NOT_YET`.
            assemble: Makes a batch's requests; what it raises is the batch's outcome.
            network_key: Gives the key of the network that the stream is for; asked when it is opened.
            is_ordered: Whether outcomes come in the batches' order, else as they are completed.
            max_in_flight: Batches that were taken and not handed out; 1 or more.
            on_broken: Called when what was sent so far went to a stream that is gone.
            may_mend: Told of a refusal; whether the request, encoded anew, may go again at once.
        """
        self.batches = batches
        self._indices = itertools.count()
        self.is_starved = False
        self._assemble = assemble
        self._network_key = network_key
        self._is_ordered = is_ordered
        self._max_in_flight = max_in_flight
        self._on_broken = on_broken
        self._may_mend = may_mend
        self._open_count = 0
        self._is_exhausted = False
        self._current: _Item | None = None
        self._again: deque[_Part] = deque()
        self._delayed: list[tuple[float, int, _Part]] = []
        self._waiting: dict[str, _Part] = {}
        self._bytes_in_flight = 0
        self._ids = itertools.count()
        self._outcomes: dict[int, Outcome] = {}
        self._next_index = 0
        self._broken_count = 0
        self._max_attempts = MAX_ATTEMPTS

    @property
    def network_key(self) -> str:
        """See `AboutNetwork`."""
        return self._network_key()

    @property
    def is_waiting(self) -> bool:
        return bool(self._waiting)

    @property
    def is_done(self) -> bool:
        return self._is_exhausted and not self._open_count

    @property
    def is_delaying(self) -> bool:
        return bool(self._delayed)

    def next_message(self, *, now_s: float) -> bytes | None:
        """A request to send now; None while there is no room, nothing to send, or only later."""
        self.is_starved = False
        part = self._next_part(now_s) if self._has_room() else None
        if part is None:
            return None
        # Anew for each attempt: what a request may leave out depends on what its stream has carried.
        part.request = part.item.assembly.encode(part.at, request_id=part.request_id)
        self._waiting[part.request_id] = part
        self._bytes_in_flight += part.reply_bytes
        return part.request.data

    def receive(self, data: bytes, *, now_s: float) -> None:
        """Takes a message from the stream.

        Raises:
            ProtocolError: It is no reply, or one that nobody asked for.
        """
        self._broken_count = 0
        self._max_attempts = MAX_ATTEMPTS_ONCE_ANSWERED
        reply = split(data)
        part = self._waiting.pop(reply.rest.id, None)
        if part is None or part.request is None:
            raise ProtocolError(f"the reply's id is {reply.rest.id!r}; no request of that id waits")
        self._bytes_in_flight -= part.reply_bytes
        if part.item.is_over:
            return
        if reply.rest.HasField("error"):
            self._refused(part, reply.rest.error, now_s=now_s)
            return
        try:
            part.item.assembly.place(part.at, reply, request=part.request)
        except UnrolledError as error:
            self._finish(part.item, error=error)
            return
        part.item.left_count -= 1
        if not part.item.left_count:
            self._finish(part.item, error=None)

    def next_outcome(self) -> Outcome | None:
        """An outcome to hand out; None while none is due."""
        if not self._outcomes:
            return None
        index = self._next_index if self._is_ordered else next(iter(self._outcomes))
        if index not in self._outcomes:
            return None
        self._next_index += 1
        self._open_count -= 1
        return self._outcomes.pop(index)

    def broken(self, error: UnrolledError, *, jitter: float) -> float:
        """The stream is gone: everything unanswered is to be sent again.

        Args:
            error: Why.
            jitter: From 0 to 1; spreads those who lost the same server.

        Returns:
            Seconds to wait before the next stream.

        Raises:
            UnrolledError: `error`, if another stream would not help or enough were tried.
        """
        self._broken_count += 1
        is_hopeless = not isinstance(error, UnavailableError) or self._broken_count >= self._max_attempts
        if error.retry_after_s is None and is_hopeless:
            raise error
        self._again.extendleft(reversed(self._waiting.values()))
        self._waiting.clear()
        self._bytes_in_flight = 0
        self._on_broken()
        if error.retry_after_s is not None:
            return error.retry_after_s
        backoff_s = min(_FIRST_BACKOFF_S * 2.0 ** (self._broken_count - 1), _MAX_BACKOFF_S)
        return backoff_s * (0.5 + jitter / 2)

    def delay_s(self, *, now_s: float) -> float:
        """Seconds until a request may be sent that the server wanted later."""
        return max(0.0, self._delayed[0][0] - now_s) if self._delayed else 0.0

    def _has_room(self) -> bool:
        return self._bytes_in_flight < MAX_BYTES_IN_FLIGHT and len(self._waiting) < MAX_REQUESTS_IN_FLIGHT

    def _next_part(self, now_s: float) -> _Part | None:
        while self._delayed and self._delayed[0][0] <= now_s:
            self._again.append(heapq.heappop(self._delayed)[-1])
        while self._again:
            part = self._again.popleft()
            if not part.item.is_over:
                return part
        item = self._item_to_send()
        if item is None:
            return None
        at = item.unsent.popleft()
        reply_bytes = item.assembly.reply_bytes(at)
        return _Part(item=item, at=at, request_id=str(next(self._ids)), reply_bytes=reply_bytes)

    def _item_to_send(self) -> _Item | None:
        """The batch whose next part goes out; takes another when all parts of the last are sent."""
        while self._current is None or self._current.is_over or not self._current.unsent:
            if self._is_exhausted or self.is_starved or self._open_count >= self._max_in_flight:
                return None
            self._current = self._take()
        return self._current

    def _take(self) -> _Item | None:
        """Returns the next batch; None at the end, while none is ready, or if it ends at once."""
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
        return _Item(index=index, assembly=assembly, unsent=deque(range(count)), left_count=count)

    def _refused(self, part: _Part, refusal: pb.RequestError, *, now_s: float) -> None:
        """One request failed: it goes again if the server says when, else its batch is over."""
        code = _CODES.get(refusal.code, grpc.StatusCode.UNKNOWN)
        error = error_from_status(code, message=refusal.message, details=refusal.details)
        if self._may_mend(error):
            self._again.append(part)
        elif error.retry_after_s is None:
            self._finish(part.item, error=part.item.assembly.renamed(part.at, error))
        else:
            entry = (now_s + error.retry_after_s, next(self._ids), part)
            heapq.heappush(self._delayed, entry)

    def _finish(self, item: _Item, *, error: UnrolledError | None) -> None:
        item.is_over = True
        item.unsent.clear()
        if error is None:
            self._outcomes[item.index] = Outcome(index=item.index, value=item.assembly.result())
        else:
            self._outcomes[item.index] = Outcome(index=item.index, error=error)
