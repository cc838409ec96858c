"""A call as a replica has it: what the service asks of gRPC, answered out of what Serve passes on.

A file of its own because Serve has no such object: it gives a context that travels with each message, and for
streams an iterator of requests, and takes an iterator of replies.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any, NoReturn, Protocol

import grpc
import grpc.aio

from unrolled_server.ray_serve.deadline_metadata import Metadata, deadline_in


class ServeContext(Protocol):
    """What is used of ray.serve.grpc_util.RayServegRPCContext; what is set on it goes to the client."""

    def invocation_metadata(self) -> Any:
        """What the client sent."""

    def peer(self) -> str:
        """The client, as the proxy's gRPC names it."""

    def set_code(self, code: grpc.StatusCode) -> None:
        """Sets how the call ends."""

    def set_details(self, details: str) -> None:
        """Sets the message that it ends with."""

    def set_trailing_metadata(self, trailing_metadata: list[tuple[str, str | bytes]]) -> None:
        """Sets the metadata that it ends with."""


class AbortedError(Exception):
    """The call ends with the status that was set."""


class Call:
    """A unary call.

    Args:
        context: Serve's.
    """

    def __init__(self, context: ServeContext) -> None:
        self._context = context
        self._peer = context.peer()
        self._deadline_s = deadline_in(context.invocation_metadata())
        self._done_callbacks: list[Callable[[Any], None]] = []

    def peer(self) -> str:
        """The client, as the proxy's gRPC names it."""
        return self._peer

    def time_remaining(self) -> float | None:
        """Seconds until its deadline; None if it has none."""
        return None if self._deadline_s is None else self._deadline_s - time.monotonic()

    def invocation_metadata(self) -> Metadata:
        """What the client sent."""
        metadata: Metadata = self._context.invocation_metadata()
        return metadata

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Has it called when the call is over."""
        self._done_callbacks.append(callback)

    async def abort(
        self,
        code: grpc.StatusCode,
        details: str = "",
        trailing_metadata: tuple[tuple[str, str | bytes], ...] = (),
    ) -> NoReturn:
        """Ends the call with this status.

        Raises:
            AbortedError: Always.
        """
        self._context.set_code(code)
        self._context.set_details(details)
        self._context.set_trailing_metadata(list(trailing_metadata))
        raise AbortedError

    def end(self) -> None:
        """The call is over."""
        for callback in self._done_callbacks:
            callback(self)


class StreamCall(Call):
    """A call with a stream each way.

    Args:
        context: Serve's.
        requests: Those that come; Serve fetches each from its proxy.
    """

    def __init__(self, context: ServeContext, requests: AsyncIterator[bytes]) -> None:
        super().__init__(context)
        self._requests = requests
        self._outbox: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def read(self) -> Any:
        """The next request; grpc.aio.EOF after the last."""
        return await anext(self._requests, grpc.aio.EOF)

    async def write(self, message: bytes) -> None:
        """Returns when Serve has taken the message, which it does whether anybody reads or not."""
        self._outbox.put_nowait(message)
        await self._outbox.join()

    async def replies(self, answering: Awaitable[None]) -> AsyncGenerator[bytes, None]:
        """What `answering` writes.

        Raises:
            AbortedError: It ended the call.
        """
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
