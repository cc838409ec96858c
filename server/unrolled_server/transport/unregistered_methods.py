"""Answers calls of methods that nobody registered, in place of gRPC's own loop.

A file of its own because it reaches below gRPC's public face. There the loop that takes calls decodes the
path of those that no registered method has, and ends, deaf to everybody, at the first that is not UTF-8
(grpcio 1.85): one packet of anybody's. Here they are answered without a look at their path. A version of
gRPC that has no such loop is left as it is.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc.aio

# The stubs leave it out.
from grpc._cython import cygrpc  # type: ignore[attr-defined]

# A name of no method, and a resolver that has none: together they are answered UNIMPLEMENTED.
_NO_METHOD = ""


class _PathBlindServer(cygrpc.AioServer):  # type: ignore[misc]  # gRPC's compiled half has no types
    """gRPC's server, but that calls of unregistered methods never come to its loop."""

    asked_first: tuple[grpc.aio.ServerInterceptor, ...] = ()
    """The interceptors, which unknown methods pass as all others do."""

    def _make_request_call_future(self, method: bytes | None) -> asyncio.Future[Any]:
        """What the loop waits for: a registered method's next call, or for ever."""
        if method is not None:
            call: asyncio.Future[Any] = super()._make_request_call_future(method)
            return call
        return asyncio.get_running_loop().create_task(self._answer_others())

    async def _answer_others(self) -> None:
        """Tells every caller that there is no such method; ends with the server, by gRPC's own error."""
        loop, answering = asyncio.get_running_loop(), set[asyncio.Task[None]]()
        resolver = cygrpc._MethodResolver([], {})  # noqa: SLF001 - see the module
        while True:
            call = await self._request_call()
            answer = cygrpc._handle_rpc(_NO_METHOD, resolver, self.asked_first, call, loop, False)  # noqa: SLF001
            task = loop.create_task(cygrpc._schedule_rpc_coro(answer, call, loop, _NO_METHOD))  # noqa: SLF001
            answering.add(task)
            task.add_done_callback(answering.discard)


def aio_server(
    *, options: Sequence[tuple[str, Any]], interceptors: Sequence[grpc.aio.ServerInterceptor]
) -> grpc.aio.Server:
    """As `grpc.aio.server`; what is to be called has to be registered, not only generic."""

    class PathBlindServer(_PathBlindServer):
        asked_first = tuple(interceptors)

    original = cygrpc.AioServer
    cygrpc.AioServer = PathBlindServer
    try:
        return grpc.aio.server(options=options, interceptors=interceptors)
    finally:
        cygrpc.AioServer = original
