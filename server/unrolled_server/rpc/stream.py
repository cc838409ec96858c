"""One ForwardStream: a task that reads, a task that writes, and between them the requests being computed."""

import asyncio
import time
from collections import deque
from functools import partial
from typing import Any

from unrolled_server.call_context import Context, call_info
from unrolled_server.errors import DrainingError, error_reply
from unrolled_server.observability.counters import FORWARD_STREAM
from unrolled_server.observability.request_observer import PendingRequest
from unrolled_server.rpc.pipeline import RequestPipeline, Submission, as_request_error
from unrolled_server.rpc.reply_writer import WriteScheduler
from unrolled_server.scheduling.admission import Reservation
from unrolled_server.scheduling.slow_consumers import SlowConsumers
from unrolled_server.validation.parsing import request_id
from unrolled_server.validation.words import SharedWords

# While the server drains, a stream that was silent for this long is idle.
IDLE_S = 0.1


class Stream:
    """Answers the requests of one stream in the order in which they are done.

    A single task writes, because concurrent writes on one gRPC stream lose replies. When requests and their
    unwritten replies reach `max_bytes`, reading stops and HTTP/2's flow control stops the sender; a larger
    request enters when nothing else is held.
    """

    def __init__(
        self,
        context: Context,
        pipeline: RequestPipeline,
        *,
        writes: WriteScheduler,
        slow_consumers: SlowConsumers,
        max_bytes: int,
    ) -> None:
        self._call = call_info(context)
        self.peer = self._call.peer
        self._context = context
        self._pipeline = pipeline
        self._observer = pipeline.observer
        self._writes = writes
        self._slow_consumers = slow_consumers
        self._max_bytes = max_bytes
        self._loop = asyncio.get_running_loop()
        self._computing: dict[asyncio.Future[bytes], Reservation] = {}
        self._outbox: deque[tuple[bytes, Reservation]] = deque()
        self._being_sent: Reservation | None = None
        self._held_bytes = 0
        self._is_slow = False  # while true, nothing more is read
        self._shared_words = SharedWords(pipeline.admission)
        self._has_news: asyncio.Future[None] | None = None  # what the writer sleeps on
        self._has_room: asyncio.Future[None] | None = None  # what the reader sleeps on
        self._was_active = True

    async def run(self) -> None:
        """Serves until the client has closed its side and everything is answered.

        Raises:
            DrainingError: The server stops; what was read is answered.
        """
        self._reading = self._loop.create_task(self._read())
        self._reading.add_done_callback(lambda _: _wake(self._has_news))
        try:
            await self._write()
        finally:
            self._reading.cancel()
            self._drop_all()
            self._shared_words.clear()
        if self._reading.cancelled():
            raise DrainingError("the server is shutting down; send what is unanswered again")
        self._reading.result()

    def drain(self, *, within_s: float) -> None:
        """Ends the stream once it is idle, and its reading after `within_s` in any case."""
        self._was_active = True
        self._loop.call_later(IDLE_S, self._end_if_idle)
        self._loop.call_later(within_s, self._stop_reading)

    def mark_slow(self) -> int:
        """Counts the unread replies as a slow client's; returns how many bytes they are."""
        self._is_slow = True
        unread = [reservation for _, reservation in self._outbox]
        if self._being_sent:
            unread.append(self._being_sent)
        return sum(reservation.mark_slow() for reservation in unread)

    async def _read(self) -> None:
        while isinstance(data := await self._context.read(), bytes):  # else it is grpc.aio.EOF
            self._was_active = True
            pending = self._observer.received(FORWARD_STREAM, data, self._context)
            cached = self._pipeline.cached_reply(data)
            if cached is not None:  # only requests with words of their own are cached
                self._observer.answered(pending, cached)
                self._shared_words.store(data)
                await self._send_at_once(cached)
                continue
            try:
                submission = await self._pipeline.submit(
                    data,
                    self._call,
                    shared_words=self._shared_words,
                    wait_for_room=self._wait_for_room,
                )
            except asyncio.CancelledError:  # the client is gone, or the server ends
                self._observer.cancelled(pending)
                raise
            except Exception as error:  # noqa: BLE001 - the stream outlives any one request
                refusal = as_request_error(error)
                self._observer.refused(pending, refusal)
                await self._send_at_once(error_reply(refusal, request_id(data)).SerializeToString())
            else:
                self._track(submission, pending)

    def _track(self, submission: Submission, pending: PendingRequest) -> None:
        """Takes the reply to the writer, now or when it is computed."""
        reply_id, reservation, reply = submission
        self._held_bytes += reservation.byte_count
        if isinstance(reply, bytes):
            self._observer.answered(pending, reply)
            self._send(reply, reservation)
        else:
            self._computing[reply] = reservation
            reply.add_done_callback(partial(self._finish, reply_id, pending))

    def _finish(self, reply_id: str, pending: PendingRequest, future: asyncio.Future[bytes]) -> None:
        """Takes a computed reply to the writer."""
        error = None if future.cancelled() else future.exception()
        reservation = self._computing.pop(future, None)
        if reservation is None:  # the stream is over
            self._observer.cancelled(pending)
        elif error is None:
            self._observer.answered(pending, future.result())
            self._send(future.result(), reservation)
        else:
            refusal = as_request_error(error)
            self._observer.refused(pending, refusal)
            self._send(error_reply(refusal, reply_id).SerializeToString(), reservation)

    async def _send_at_once(self, reply: bytes) -> None:
        """Takes a reply that needs no work to the writer."""
        await self._wait_for_room(len(reply))
        reservation = self._pipeline.admission.reserve_always(self._call, len(reply))
        self._held_bytes += reservation.byte_count
        self._send(reply, reservation)

    def _send(self, reply: bytes, reservation: Reservation) -> None:
        reservation.end_work()
        self._outbox.append((reply, reservation))
        _wake(self._has_news)

    async def _write(self) -> None:
        while True:
            while self._outbox:
                reply, reservation = self._outbox.popleft()
                self._being_sent = reservation
                try:
                    await self._writes.wait_turn(len(reply))
                    self._slow_consumers.add(self, now_s=time.monotonic())
                    await self._context.write(reply)
                finally:
                    self._slow_consumers.remove(self)
                    self._is_slow = False
                    self._release(reservation)
            if self._reading.done() and not self._computing:
                return
            self._has_news = self._loop.create_future()
            await self._has_news

    def _release(self, reservation: Reservation) -> None:
        self._held_bytes -= reservation.byte_count
        reservation.release()
        _wake(self._has_room)

    async def _wait_for_room(self, byte_count: int) -> None:
        while 0 < self._held_bytes > self._max_bytes - byte_count or self._is_slow:
            self._has_room = self._loop.create_future()
            await self._has_room

    def _end_if_idle(self) -> None:
        if not (self._held_bytes or self._was_active):
            self._stop_reading()
        elif not self._reading.done():
            self._was_active = False
            self._loop.call_later(IDLE_S, self._end_if_idle)

    def _stop_reading(self) -> None:
        self._reading.cancel()

    def _drop_all(self) -> None:
        """Cancels and releases what can no longer be sent."""
        computing, self._computing = self._computing, {}
        for future, reservation in computing.items():
            future.cancel()
            self._release(reservation)
        while self._outbox:
            self._release(self._outbox.popleft()[1])


def _wake(sleeper: asyncio.Future[Any] | None) -> None:
    if sleeper and not sleeper.done():
        sleeper.set_result(None)
