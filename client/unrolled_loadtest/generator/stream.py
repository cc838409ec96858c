"""Lanes of many requests at a time: streams, whose replies come in any order."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

import grpc.aio
from google.protobuf.message import DecodeError
from unrolled.v1 import forward_pb2 as pb
from unrolled.v1.wire import split_reply
from unrolled_client.low_level import FAILED_WRITE

from unrolled_loadtest.generator.events import UNANSWERED
from unrolled_loadtest.generator.pacer import DueRequest, Pacer, Waiter
from unrolled_loadtest.generator.recorder import Recorder
from unrolled_loadtest.generator.reply_reader import Reply, has_trailer, read_fields, read_with_trailer
from unrolled_loadtest.generator.unary import code_of, is_cancelled_by_us

# Ids of one length at the end of a message: those of replies are found without a parser.
_ID = b"%08x"
_ID_BYTES = 8
_ID_HEAD = bytes([pb.ForwardRequest.ID_FIELD_NUMBER << 3 | 2, _ID_BYTES])
_ID_FIELD_BYTES = len(_ID_HEAD) + _ID_BYTES

_REOPEN_S = 0.1
_CANCELLED = grpc.StatusCode.CANCELLED.value[0]
_UNAVAILABLE = grpc.StatusCode.UNAVAILABLE.value[0]
_DEADLINE_EXCEEDED = grpc.StatusCode.DEADLINE_EXCEEDED.value[0]


class _Sent(NamedTuple):
    """A request without an answer."""

    due: DueRequest
    request_index: int
    sent_s: float


class Stream:
    """One stream, and another one whenever it breaks.

    `data` has the requests' bytes, by index, without ids. At most `window` requests are without an answer,
    each for at most `timeout_s`.
    """

    def __init__(  # noqa: PLR0913 - each is needed once
        self,
        open_stream: Callable[[AsyncIterator[bytes]], Any],
        data: tuple[bytes, ...],
        *,
        recorder: Recorder,
        pacer: Pacer,
        window: int,
        timeout_s: float,
    ) -> None:
        self._open = open_stream
        self._data = data
        self._recorder = recorder
        self._pacer = pacer
        self._window = window
        self._timeout_s = timeout_s
        self._unanswered: dict[bytes, _Sent] = {}
        self._next_id = 0
        self._is_answered = False
        self._has_room: asyncio.Future[None] | None = None

    async def run(self) -> None:
        """Sends and receives until the pacer has stopped and every request is answered."""
        while True:
            self._is_answered = False
            call = self._open(self._requests())
            code = _UNAVAILABLE  # if the server ends the stream early
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
            if self._pacer.is_stopped:
                return
            if not self._is_answered:
                self._fail_due(code)
            await asyncio.sleep(_REOPEN_S)

    def expire(self) -> None:
        """Fails requests that waited longer than `timeout_s`; gRPC's deadlines are those of whole streams."""
        now_s = self._pacer.now_s()
        while self._unanswered:
            name, sent = next(iter(self._unanswered.items()))
            if now_s - sent.sent_s <= self._timeout_s:
                return
            self._finish(self._unanswered.pop(name), code=_DEADLINE_EXCEEDED)

    def give_up(self) -> None:
        """Records requests that had no outcome when the run ended."""
        self._fail_all(UNANSWERED)

    async def _requests(self) -> AsyncIterator[bytes]:
        """Yields requests as fast as gRPC takes them, while the window has room."""
        while True:
            if len(self._unanswered) >= self._window:
                self._has_room = asyncio.get_running_loop().create_future()
                await self._has_room
            due = self._pacer.pop()
            if due is None:
                due = await self._wait(self._pacer.wait())
            if due is None:
                return
            yield self._send(due)

    async def _wait(self, waiter: Waiter) -> DueRequest | None:
        try:
            return await waiter
        except asyncio.CancelledError:  # the stream broke
            if waiter.done() and not waiter.cancelled() and (due := waiter.result()) is not None:
                self._send(due)  # it became due just then, and fails with the others
            raise

    def _send(self, due: DueRequest) -> bytes:
        self._next_id += 1
        name = _ID % (self._next_id & 0xFFFFFFFF)
        index = self._recorder.index_of(due.number)
        self._recorder.sent_count += 1
        self._recorder.in_flight_count += 1
        self._unanswered[name] = _Sent(due, index, self._pacer.now_s())
        return self._data[index] + _ID_HEAD + name

    def _receive(self, data: bytes) -> None:
        done_s = self._pacer.now_s()
        self._is_answered = True
        if has_trailer(data) and (sent := self._unanswered.pop(data[-_ID_BYTES:], None)) is not None:
            reply = read_with_trailer(data, data[-_ID_FIELD_BYTES:])
        else:
            parts = split_reply(data)
            sent = self._unanswered.pop(parts.rest.id.encode(), None)
            if sent is None:  # it has expired
                return
            reply = read_fields(parts)
        self._finish(sent, code=reply.code, reply=reply, done_s=done_s)

    def _finish(
        self, sent: _Sent, *, code: int, reply: Reply | None = None, done_s: float | None = None
    ) -> None:
        self._recorder.in_flight_count -= 1
        self._recorder.record(
            sent.due,
            sent.request_index,
            sent_s=sent.sent_s,
            done_s=self._pacer.now_s() if done_s is None else done_s,
            code=code,
            reply=reply,
        )
        if self._has_room is not None and not self._has_room.done():
            self._has_room.set_result(None)

    def _fail_due(self, code: int) -> None:
        """Fails requests that are due and no other stream took, as calls without a server would fail."""
        for _ in range(self._window):
            if (due := self._pacer.pop()) is None:
                break
            self._send(due)
        self._fail_all(code)

    def _fail_all(self, code: int) -> None:
        unanswered, self._unanswered = self._unanswered, {}
        for sent in unanswered.values():
            self._finish(sent, code=code)
