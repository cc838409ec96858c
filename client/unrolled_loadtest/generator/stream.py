"""Lanes of many requests at a time: a stream, whose replies come in the order in which they are done.

A file of its own because a stream has a way to break of its own: what it had not answered failed with it, and
another takes its place.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

import grpc.aio
from google.protobuf.message import DecodeError
from unrolled.v1 import forward_pb2 as pb
from unrolled.v1.wire import split_reply
from unrolled_client.low_level import FAILED_WRITE

from unrolled_loadtest.generator.events import UNANSWERED
from unrolled_loadtest.generator.pacer import Item, Pacer, Sleeper
from unrolled_loadtest.generator.recorder import Ledger
from unrolled_loadtest.generator.reply_reader import Reply, is_plain, read_parts, read_plain
from unrolled_loadtest.generator.unary import code_of, is_cancelled_by_us

# Fixed ids at a fixed place: those of replies are found without a parser.
_ID = b"%08x"
_ID_BYTES = 8
_ID_HEAD = bytes([pb.ForwardRequest.ID_FIELD_NUMBER << 3 | 2, _ID_BYTES])
_ID_FIELD_BYTES = len(_ID_HEAD) + _ID_BYTES

_REOPEN_S = 0.1
_CANCELLED = grpc.StatusCode.CANCELLED.value[0]
_UNAVAILABLE = grpc.StatusCode.UNAVAILABLE.value[0]
_DEADLINE_EXCEEDED = grpc.StatusCode.DEADLINE_EXCEEDED.value[0]


class _Sent(NamedTuple):
    """A request on its way."""

    item: Item
    request: int
    sent_s: float


class Stream:
    """One stream, and the next one when it breaks.

    Args:
        open_stream: Opens a ForwardStream with these requests.
        data: The requests' bytes, by index, without ids.
        ledger: Notes what is answered.
        pacer: Says what to send.
        window: Requests without an answer that it may have.
        timeout_s: How long each may wait.
    """

    def __init__(  # noqa: PLR0913 - what a lane is made of
        self,
        open_stream: Callable[[AsyncIterator[bytes]], Any],
        data: tuple[bytes, ...],
        *,
        ledger: Ledger,
        pacer: Pacer,
        window: int,
        timeout_s: float,
    ) -> None:
        self._open = open_stream
        self._data = data
        self._ledger = ledger
        self._pacer = pacer
        self._window = window
        self._timeout_s = timeout_s
        self._waiting: dict[bytes, _Sent] = {}
        self._next_id = 0
        self._is_answered = False
        self._has_room: asyncio.Future[None] | None = None

    async def run(self) -> None:
        """Sends and receives until the pacer says that it is over and everything is answered."""
        while True:
            self._is_answered = False
            call = self._open(self._requests())
            code = _UNAVAILABLE  # what a server means that ends a stream early
            try:
                async for reply in call:
                    self._receive(reply)
            except asyncio.CancelledError:
                if is_cancelled_by_us():
                    call.cancel()
                    self.give_up()
                    raise
                code = _CANCELLED
            except grpc.aio.AioRpcError as error:
                code = _UNAVAILABLE if error.details() == FAILED_WRITE else code_of(error)
            except DecodeError as error:
                call.cancel()
                code = code_of(error)
            self._fail_all(code)
            if self._pacer.is_over:
                return
            if not self._is_answered:
                self._fail_due(code)
            await asyncio.sleep(_REOPEN_S)

    def expire(self) -> None:
        """Gives up what waits for too long; gRPC's deadlines are those of whole streams."""
        now_s = self._pacer.now_s()
        while self._waiting:
            name, sent = next(iter(self._waiting.items()))
            if now_s - sent.sent_s <= self._timeout_s:
                return
            self._finish(self._waiting.pop(name), code=_DEADLINE_EXCEEDED)

    def give_up(self) -> None:
        """Notes what was sent and had no outcome when the run ended."""
        self._fail_all(UNANSWERED)

    async def _requests(self) -> AsyncIterator[bytes]:
        """What gRPC sends next, as soon as it can take it."""
        while True:
            if len(self._waiting) >= self._window:
                self._has_room = asyncio.get_running_loop().create_future()
                await self._has_room
            item = self._pacer.take()
            if item is None:
                item = await self._parked(self._pacer.park())
            if item is None:
                return
            yield self._send(item)

    async def _parked(self, sleeper: Sleeper) -> Item | None:
        try:
            return await sleeper
        except asyncio.CancelledError:  # the stream broke
            if sleeper.done() and not sleeper.cancelled() and (item := sleeper.result()) is not None:
                self._send(item)  # it was due just then, and fails with the others
            raise

    def _send(self, item: Item) -> bytes:
        self._next_id += 1
        name = _ID % (self._next_id & 0xFFFFFFFF)
        index = self._ledger.index_of(item.number)
        self._ledger.sent_count += 1
        self._ledger.in_flight_count += 1
        self._waiting[name] = _Sent(item, index, self._pacer.now_s())
        return self._data[index] + _ID_HEAD + name

    def _receive(self, data: bytes) -> None:
        done_s = self._pacer.now_s()
        self._is_answered = True
        if is_plain(data) and (sent := self._waiting.pop(data[-_ID_BYTES:], None)) is not None:
            reply = read_plain(data, data[-_ID_FIELD_BYTES:])
        else:
            parts = split_reply(data)
            sent = self._waiting.pop(parts.rest.id.encode(), None)
            if sent is None:  # it comes too late
                return
            reply = read_parts(parts)
        self._finish(sent, code=reply.code, reply=reply, done_s=done_s)

    def _finish(
        self, sent: _Sent, *, code: int, reply: Reply | None = None, done_s: float | None = None
    ) -> None:
        self._ledger.in_flight_count -= 1
        self._ledger.note(
            sent.item,
            sent.request,
            sent_s=sent.sent_s,
            done_s=self._pacer.now_s() if done_s is None else done_s,
            code=code,
            reply=reply,
        )
        if self._has_room is not None and not self._has_room.done():
            self._has_room.set_result(None)

    def _fail_due(self, code: int) -> None:
        """Fails what is due and what no other stream took, as each call would where no server is."""
        for _ in range(self._window):
            if (item := self._pacer.take()) is None:
                break
            self._send(item)
        self._fail_all(code)

    def _fail_all(self, code: int) -> None:
        waiting, self._waiting = self._waiting, {}
        for sent in waiting.values():
            self._finish(sent, code=code)
