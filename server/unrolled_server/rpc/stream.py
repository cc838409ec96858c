"""One ForwardStream: a task that reads, a task that writes, and between them what is computed.

Concurrent writes on one gRPC stream lose replies, so a single task writes. A stream holds a bounded number of
bytes, of requests and of their replies until written: when that is full the reading stops, HTTP/2's flow
control then stops the sender, and a client that does not read costs no more than this.
"""

import asyncio
from collections import deque
from functools import partial
from typing import Any

from unrolled.v1 import forward_pb2 as pb

from unrolled_server.call_context import Context, terms_of
from unrolled_server.errors import DrainingError, RequestError, status
from unrolled_server.observability.counters import FORWARD_STREAM
from unrolled_server.observability.request_observer import PendingRequest, RequestObserver
from unrolled_server.rpc.outbound import Outbound
from unrolled_server.rpc.pipeline import Intake, as_refusal
from unrolled_server.scheduling.admission import Ticket
from unrolled_server.validation.parsing import request_id
from unrolled_server.validation.request import AcceptedRequest
from unrolled_server.validation.words import SharedTexts

# While the server drains, a stream that was silent for this long is idle.
IDLE_S = 0.1


class Stream:
    """Answers the requests of one stream in the order in which they are done.

    Args:
        context: Reads and writes messages.
        intake: Answers them.
        observer: Is told how they end.
        outbound: How replies leave.
        max_bytes: Held at a time; a request that alone has more comes when nothing else is held.
    """

    def __init__(
        self,
        context: Context,
        intake: Intake,
        observer: RequestObserver,
        *,
        outbound: Outbound,
        max_bytes: int,
    ) -> None:
        self._terms = terms_of(context)
        self.peer = self._terms.peer
        self._context = context
        self._intake = intake
        self._observer = observer
        self._outbound = outbound
        self._being_sent: Ticket | None = None
        self._is_slow = False  # while so, nothing more is read
        self._max_bytes = max_bytes
        self._loop = asyncio.get_running_loop()
        self._computing: dict[asyncio.Future[bytes], Ticket] = {}
        self._outbox: deque[tuple[bytes, Ticket]] = deque()
        self._held_bytes = 0
        self._shared = SharedTexts(intake.admission)
        self._is_read_to_its_end = False
        self._has_news: asyncio.Future[None] | None = None  # what the writer sleeps on
        self._has_room: asyncio.Future[None] | None = None  # what the reader sleeps on
        self._was_active = True

    async def run(self) -> None:
        """Serves until the client has ended its side and everything is answered.

        Raises:
            DrainingError: The server stops; what was read is answered.
        """
        self._reading = self._loop.create_task(self._read())
        self._reading.add_done_callback(self._end_reading)
        try:
            await self._write()
        finally:
            self._reading.cancel()
            self._drop_all()
            self._shared.clear()
        if self._reading.cancelled():
            raise DrainingError("the server is shutting down; send what is unanswered again")
        self._reading.result()

    def drain(self, *, within_s: float) -> None:
        """Ends the stream once it is idle, and its reading after `within_s` in any case."""
        self._was_active = True
        self._loop.call_later(IDLE_S, self._end_if_idle)
        self._loop.call_later(within_s, self._stop_reading)

    def set_aside(self) -> int:
        """Counts what the client does not read, and all that waits behind it, as a slow reader's."""
        self._is_slow = True
        tickets = [ticket for _, ticket in self._outbox]
        if self._being_sent:
            tickets.append(self._being_sent)
        for ticket in tickets:
            ticket.set_aside()
        return sum(ticket.byte_count for ticket in tickets)

    async def _read(self) -> None:
        while isinstance(data := await self._context.read(), bytes):  # else it is grpc.aio.EOF
            self._was_active = True
            pending = self._observer.received(FORWARD_STREAM, data, self._context)
            known = self._intake.recall(data)
            if known is not None:  # such a request has words
                self._observer.counters.kept_replies += 1
                self._observer.answered(pending, known)
                self._shared.note(data)
                await self._send_at_once(known)
                continue
            try:
                self._intake.look_ahead(self._terms)
                accepted = self._intake.accept(data, shared=self._shared)
                if self._is_full(accepted.byte_count):
                    await self._wait_for_room(accepted.byte_count)
                self._answer(accepted, pending)
            except asyncio.CancelledError:  # the client is gone, or the server ends
                self._observer.cancelled(pending)
                raise
            except Exception as error:  # noqa: BLE001 - the stream lives on whatever one request does
                refusal = as_refusal(error)
                self._observer.refused(pending, refusal)
                await self._refuse(request_id(data), refusal)

    def _answer(self, accepted: AcceptedRequest, pending: PendingRequest) -> None:
        """Answers at once, or has the reply computed."""
        ticket = self._intake.admit(accepted, self._terms)
        self._observer.accepted(words=len(accepted.job.words), symbols=accepted.job.words.letter_count)
        try:
            reply = self._intake.start(accepted, self._terms)
        except BaseException:
            ticket.release()
            raise
        self._held_bytes += ticket.byte_count
        if not isinstance(reply, bytes):
            self._computing[reply] = ticket
            reply.add_done_callback(partial(self._finish, accepted.id, pending))
        else:
            self._observer.answered(pending, reply)
            self._send(reply, ticket)

    def _finish(self, name: str, pending: PendingRequest, future: asyncio.Future[bytes]) -> None:
        """Takes a computed reply to the writer."""
        error = None if future.cancelled() else future.exception()
        ticket = self._computing.pop(future, None)
        if ticket is None:  # the stream is over
            self._observer.cancelled(pending)
            return
        if error is None:
            self._observer.answered(pending, future.result())
            self._send(future.result(), ticket)
            return
        refusal = as_refusal(error)
        self._observer.refused(pending, refusal)
        self._send(encode_refusal(name, refusal), ticket)

    async def _refuse(self, name: str, error: RequestError) -> None:
        """Answers a request that is not computed."""
        await self._send_at_once(encode_refusal(name, error))

    async def _send_at_once(self, reply: bytes) -> None:
        """Takes a reply that cost no work to the writer."""
        if self._is_full(len(reply)):
            await self._wait_for_room(len(reply))
        ticket = self._intake.admission.hold(self._terms, len(reply))
        self._held_bytes += ticket.byte_count
        self._send(reply, ticket)

    def _send(self, reply: bytes, ticket: Ticket) -> None:
        ticket.end_work()
        self._outbox.append((reply, ticket))
        _wake(self._has_news)

    async def _write(self) -> None:
        while True:
            while self._outbox:
                reply, ticket = self._outbox.popleft()
                self._being_sent = ticket
                try:
                    await self._outbound.take_turn(len(reply))
                    self._outbound.begin(self)
                    await self._context.write(reply)
                finally:
                    self._outbound.end(self)
                    self._is_slow = False
                    self._release(ticket)
            if self._is_read_to_its_end and not self._computing:
                return
            self._has_news = self._loop.create_future()
            await self._has_news

    def _release(self, ticket: Ticket) -> None:
        self._held_bytes -= ticket.byte_count
        ticket.release()
        _wake(self._has_room)

    def _is_full(self, byte_count: int) -> bool:
        return 0 < self._held_bytes > self._max_bytes - byte_count or self._is_slow

    async def _wait_for_room(self, byte_count: int) -> None:
        while self._is_full(byte_count):
            self._has_room = self._loop.create_future()
            await self._has_room

    def _end_reading(self, _reading: asyncio.Task[None]) -> None:
        self._is_read_to_its_end = True
        _wake(self._has_news)

    def _end_if_idle(self) -> None:
        if not (self._held_bytes or self._was_active):
            self._stop_reading()
        elif not self._is_read_to_its_end:
            self._was_active = False
            self._loop.call_later(IDLE_S, self._end_if_idle)

    def _stop_reading(self) -> None:
        self._reading.cancel()

    def _drop_all(self) -> None:
        """Lets go of everything that nobody will read."""
        computing, self._computing = self._computing, {}
        for future, ticket in computing.items():
            future.cancel()
            self._release(ticket)
        while self._outbox:
            self._release(self._outbox.popleft()[1])


def encode_refusal(name: str, error: RequestError) -> bytes:
    """The reply to a request that failed: its id, and what a unary call would carry in its status."""
    refused = status(error)
    reason = pb.RequestError(code=refused.code, message=refused.message, details=refused.details)
    return pb.ForwardReply(id=name, error=reason).SerializeToString()


def _wake(sleeper: asyncio.Future[Any] | None) -> None:
    if sleeper and not sleeper.done():
        sleeper.set_result(None)
