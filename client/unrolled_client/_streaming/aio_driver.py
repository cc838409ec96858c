"""Runs an exchange over ForwardStream for the asynchronous client."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, suppress
from typing import Any, Self, TypeAlias, cast

import grpc
import grpc.aio

from unrolled_client._streaming.driver import BaseStream, OpenStream, TimeLimit
from unrolled_client._streaming.exchange import NOT_YET, Exchange
from unrolled_client.errors import UnavailableError, UnrolledError
from unrolled_client.results import Outcome

Translating: TypeAlias = Callable[[], AbstractContextManager[None]]
"""Context manager that turns what grpc.aio raises into UnrolledErrors."""
FAILED_WRITE = "Internal error from Core"
"""grpc.aio's details if the connection is lost while it writes a message."""


class Source(Iterator[Any]):
    """The batches of an asynchronous iterable as an iterator that never waits, for an exchange."""

    def __init__(self, batches: AsyncIterable[Any]) -> None:
        self._batches = aiter(batches)
        self._pending: asyncio.Future[Any] | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        """Returns a batch, or requests one and returns `NOT_YET`."""
        if not self.pending.done():
            return NOT_YET
        done, self._pending = self.pending, None
        try:
            return done.result()
        except StopAsyncIteration:
            raise StopIteration from None

    @property
    def pending(self) -> asyncio.Future[Any]:
        if self._pending is None:
            self._pending = _started(anext(self._batches))
        return self._pending

    def close(self) -> None:
        """Cancels the wait for the next batch."""
        if self._pending is not None:
            self._pending.cancel()


async def drive(
    exchange: Exchange[Any], open_stream: OpenStream, *, timeout_s: float | None, translating: Translating
) -> AsyncGenerator[Outcome, None]:
    """Yields the outcomes of an exchange, as the synchronous one; closing the iterator cancels the stream."""
    limit = TimeLimit(exchange, timeout_s)
    stream = _Stream(open_stream)
    try:
        while True:
            while (request := exchange.next_request(now_s=time.monotonic())) is not None:
                stream.send(request.data)
            limit.update()
            if (outcome := exchange.next_outcome()) is not None:
                yield outcome
                limit.restart()
            elif exchange.is_done:
                if not exchange.is_waiting:  # else replies are due that are of no use any more
                    await stream.finish(limit)
                return
            elif exchange.is_starved and not await _has_message(stream, exchange, limit):
                continue
            elif not exchange.is_waiting:
                await _pause(exchange.delay_s(now_s=time.monotonic()), limit=limit)
            elif (error := await _read(stream, exchange, translating, limit=limit)) is not None:
                stream.close()
                await _pause(limit.delay_after(error), limit=limit)
                stream = _Stream(open_stream)
    finally:
        stream.close()
        if isinstance(exchange.batches, Source):
            exchange.batches.close()


async def _read(
    stream: "_Stream", exchange: Exchange[Any], translating: Translating, *, limit: TimeLimit
) -> UnrolledError | None:
    """Waits for one message; returns why the stream broke, if it did."""
    try:
        with translating():
            async with asyncio.timeout(limit.left_s):
                data = await stream.receive()
    except UnrolledError as error:
        return error
    except TimeoutError:
        raise limit.error() from None
    if data is None:
        return UnavailableError("the server ended the stream before it had answered everything")
    exchange.receive(data, now_s=time.monotonic())
    return None


async def _has_message(stream: "_Stream", exchange: Exchange[Any], limit: TimeLimit) -> bool:
    """Waits for a batch or a message; returns whether there is a message.

    The exchange is starved, so its batches are a `Source`.
    """
    awaited = {cast("Source", exchange.batches).pending}
    if exchange.is_waiting:
        awaited.add(stream.reading)
    done, _ = await asyncio.wait(awaited, timeout=limit.left_s, return_when=asyncio.FIRST_COMPLETED)
    if not done:
        raise limit.error("no reply and no batch came" if exchange.is_waiting else "no batch came")
    return exchange.is_waiting and stream.reading in done


def _started(awaitable: Awaitable[Any]) -> asyncio.Future[Any]:
    """Returns a task whose error may remain unread, because its reader may have been closed."""
    task = asyncio.ensure_future(awaitable)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return task


async def _pause(delay_s: float, *, limit: TimeLimit) -> None:
    limit.refuse_late(delay_s)
    await asyncio.sleep(delay_s)


class _Stream(BaseStream):
    """A call of grpc.aio, with a task of gRPC that takes the messages.

    A server that stops reading until its replies are read thus does not block their reader.
    """

    def __init__(self, open_stream: OpenStream) -> None:
        super().__init__(open_stream, asyncio.Queue())
        self._reading: asyncio.Future[Any] | None = None

    @property
    def reading(self) -> asyncio.Future[Any]:
        """The next message, which `receive` then returns."""
        if self._reading is None:
            self._reading = _started(self._call.read())
        return self._reading

    async def receive(self) -> bytes | None:
        """Returns the next message; None at the stream's end."""
        try:
            reading, self._reading = self._reading or self._call.read(), None
            data = await reading
        except grpc.aio.AioRpcError as error:
            if error.details() == FAILED_WRITE:  # instead of the call's status
                message = "the connection was lost while a request was on its way"
                raise UnavailableError(message, code=grpc.StatusCode.UNAVAILABLE) from None
            raise
        return None if data is grpc.aio.EOF else data

    async def finish(self, limit: TimeLimit) -> None:
        """Ends the requests and waits for the server's status."""
        self._requests.put_nowait(None)
        if self._call is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(limit.left_s):
                    await self._call.code()

    async def _outgoing(self) -> AsyncIterator[bytes]:
        while (data := await self._requests.get()) is not None:
            yield data
