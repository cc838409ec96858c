"""Calls in a replica: grpc.aio's context as the service uses it, on top of what Serve passes on."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, NoReturn

import grpc
import grpc.aio

LEFT_KEY = "unrolled-left-ms"
"""Metadata: milliseconds left when the proxy passes the call on, because Serve passes no deadlines on.

As in gRPC itself the time left travels, not a time of day, because clocks of machines differ.
"""

Metadata = Iterable[tuple[str, str | bytes]]
ServeContext = Any
"""ray.serve.grpc_util.RayServegRPCContext, without an import of Ray; what is set on it goes to the client."""


class AbortedError(Exception):
    """The call ends with the status that was set."""


class Call:
    """A unary call."""

    def __init__(self, context: ServeContext) -> None:
        self._context = context
        self._peer: str = context.peer()
        self._deadline_s = deadline_in(context.invocation_metadata())
        self._done_callbacks: list[Callable[[Any], None]] = []

    def peer(self) -> str:
        return self._peer

    def time_remaining(self) -> float | None:
        return None if self._deadline_s is None else self._deadline_s - time.monotonic()

    def invocation_metadata(self) -> Metadata:
        metadata: Metadata = self._context.invocation_metadata()
        return metadata

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self._done_callbacks.append(callback)

    async def abort(
        self,
        code: grpc.StatusCode,
        details: str = "",
        trailing_metadata: tuple[tuple[str, str | bytes], ...] = (),
    ) -> NoReturn:
        """Sets the status; always raises AbortedError, which ends the call."""
        self._context.set_code(code)
        self._context.set_details(details)
        self._context.set_trailing_metadata(list(trailing_metadata))
        raise AbortedError

    def end(self) -> None:
        for callback in self._done_callbacks:
            callback(self)


class StreamCall(Call):
    """A call with a stream each way. Serve passes on an iterator of requests and takes one of replies."""

    def __init__(self, context: ServeContext, requests: AsyncIterator[bytes]) -> None:
        super().__init__(context)
        self._requests = requests
        self._outbox: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def read(self) -> Any:
        """Returns the next request, grpc.aio.EOF after the last."""
        return await anext(self._requests, grpc.aio.EOF)

    async def write(self, message: bytes) -> None:
        """Waits until Serve has taken the message, which it does whether the client reads or not."""
        self._outbox.put_nowait(message)
        await self._outbox.join()

    async def replies(self, answering: Awaitable[None]) -> AsyncGenerator[bytes, None]:
        """Yields what `answering` writes; raises AbortedError if it aborted the call."""
        task = asyncio.ensure_future(answering)
        task.add_done_callback(lambda _: self._outbox.put_nowait(None))
        try:
            while (message := await self._outbox.get()) is not None:
                yield message
                self._outbox.task_done()
            await task
        finally:
            task.cancel()
            await asyncio.wait([task])


def with_time_left(metadata: Metadata, left_s: float | None) -> list[tuple[str, str | bytes]]:
    """Returns a call's metadata with the time left, in place of any that the client sent."""
    kept = [(key, value) for key, value in metadata if key != LEFT_KEY]
    return kept if left_s is None else [*kept, (LEFT_KEY, str(max(0, round(left_s * 1e3))))]


def deadline_in(metadata: Metadata) -> float | None:
    """Returns the deadline of a call that has just arrived, by the monotonic clock; None without one."""
    for key, value in metadata:
        if key == LEFT_KEY:
            return time.monotonic() + int(value) / 1e3
    return None
