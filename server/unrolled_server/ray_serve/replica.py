"""One replica of the service under Ray Serve: a backend that Serve's proxies call. Without Ray."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import cast

from unrolled_server.backend import Backend
from unrolled_server.call_context import Context
from unrolled_server.ray_serve.context import AbortedError, Call, ServeContext, StreamCall
from unrolled_server.settings import Settings

# Settings without effect under Serve that users could rely on, and what to do instead.
_SETTINGS_OF_SERVE: Mapping[str, str] = {
    "tls_certificate": "set RAY_USE_TLS for the cluster, or end TLS before it",
    "tls_client_ca": "set RAY_USE_TLS for the cluster, or end TLS before it",
    "tokens": "check them before the cluster",
    "metrics_address": "take Ray's own metrics",
    "otel": "take Ray's own tracing",
}


def refuse_settings_of_serve(settings: Settings) -> None:
    """Refuses settings of the server's own port and calls, which Ray Serve has; raises ValueError."""
    for name, remedy in _SETTINGS_OF_SERVE.items():
        if getattr(settings, name):
            raise ValueError(f"{name} is set, and Ray Serve has the port and its calls: {remedy}")


class Message:
    """A reply's bytes, with the one method of protobuf messages that Serve calls."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data = data

    def SerializeToString(self) -> bytes:  # noqa: N802 - protobuf's name
        return self._data


# For a failed call, whose status travels beside it.
_EMPTY = Message(b"")


class Replica:
    """unrolled.v1.ForwardService for Serve, which calls methods by their names in the contract."""

    def __init__(self, settings: Settings) -> None:
        self._backend = Backend(settings)
        # Serve creates replicas on the loop that will call them, so that loop may block until then.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, self._backend.prepare()).result()
        self._service = self._backend.start()

    async def Forward(self, request: bytes, grpc_context: ServeContext) -> Message:  # noqa: N802
        return await _answer(self._service.forward, request, grpc_context)

    async def GetServerInfo(self, request: bytes, grpc_context: ServeContext) -> Message:  # noqa: N802
        return await _answer(self._service.get_server_info, request, grpc_context)

    async def ForwardStream(  # noqa: N802
        self, requests: AsyncIterator[bytes], grpc_context: ServeContext
    ) -> AsyncIterator[Message]:
        call = StreamCall(grpc_context, requests)
        try:
            answering = self._service.forward_stream(requests, cast("Context", call))
            async with aclosing(call.replies(answering)) as replies:
                async for reply in replies:
                    yield Message(reply)
        except AbortedError:
            yield _EMPTY
        finally:
            call.end()

    async def check_health(self) -> None:
        """Raises the error of a background task that has ended; Serve then replaces this replica."""
        self._backend.check()


async def _answer(
    answer: Callable[[bytes, Context], Awaitable[bytes]], request: bytes, context: ServeContext
) -> Message:
    call = Call(context)
    try:
        return Message(await answer(request, cast("Context", call)))
    except AbortedError:
        return _EMPTY
    finally:
        call.end()
