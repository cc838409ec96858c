"""One replica of the service under Ray Serve: the server's backend, asked by Serve's proxies, not at a port.

A file of its own, without Ray, because Serve wants a class whose methods are named as in the contract.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import cast

from unrolled_server.backend import Backend
from unrolled_server.call_context import Context
from unrolled_server.ray_serve.context import AbortedError, Call, ServeContext, StreamCall
from unrolled_server.settings.model import Settings


class Message:
    """What goes to the client; Serve asks each reply for its bytes as it would ask protobuf's."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data = data

    def SerializeToString(self) -> bytes:  # noqa: N802 - protobuf's name
        """The bytes, as they are."""
        return self._data


NOTHING = Message(b"")
"""Carries the status of a call that failed, where Serve has no other way for it."""


class Replica:
    """unrolled.v1.ForwardService to Serve. It is there once its engines are proved.

    Args:
        settings: What it answers.

    Raises:
        VectorsError, DeviceUnavailableError, ProofError: See `Backend.prepare`.
    """

    def __init__(self, settings: Settings) -> None:
        self._backend = Backend(settings)
        # Serve makes it on the loop that will call it, which has nothing else to do until then.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, self._backend.prepare()).result()
        self._service = self._backend.start()

    async def Forward(self, request: bytes, grpc_context: ServeContext) -> Message:  # noqa: N802
        """One ForwardRequest to one ForwardReply."""
        return await _answered(self._service.forward, request, grpc_context)

    async def GetServerInfo(self, request: bytes, grpc_context: ServeContext) -> Message:  # noqa: N802
        """A GetServerInfoRequest to a GetServerInfoReply."""
        return await _answered(self._service.get_server_info, request, grpc_context)

    async def ForwardStream(  # noqa: N802
        self, requests: AsyncIterator[bytes], grpc_context: ServeContext
    ) -> AsyncIterator[Message]:
        """Many ForwardRequests to as many ForwardReplies."""
        call = StreamCall(grpc_context, requests)
        try:
            answering = self._service.forward_stream(requests, cast("Context", call))
            async with aclosing(call.replies(answering)) as replies:
                async for reply in replies:
                    yield Message(reply)
        except AbortedError:
            yield NOTHING
        finally:
            call.end()

    async def check_health(self) -> None:
        """Raises what ended a part of it that should not end; Serve then takes another replica."""
        self._backend.check()


async def _answered(
    answer: Callable[[bytes, Context], Awaitable[bytes]], request: bytes, context: ServeContext
) -> Message:
    """The reply; nothing where the status, which travels beside it, says why."""
    call = Call(context)
    try:
        return Message(await answer(request, cast("Context", call)))
    except AbortedError:
        return NOTHING
    finally:
        call.end()
