"""A gRPC server that survives calls of unregistered methods whose path is not UTF-8.

grpc.aio's loop (grpcio 1.85) decodes the path of such a call and, if that fails, ends for all clients. Here
such calls get UNIMPLEMENTED without a look at their path. A version without that loop is left as it is.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc.aio

# The stubs leave it out.
from grpc._cython import cygrpc  # type: ignore[attr-defined]

# This name, with a resolver without methods, gives UNIMPLEMENTED.
_NO_METHOD = ""


class RobustAioServer(cygrpc.AioServer):  # type: ignore[misc]  # gRPC's compiled half has no types
    """grpc.aio's server, whose loop never sees calls of unregistered methods."""

    _interceptors: tuple[grpc.aio.ServerInterceptor, ...] = ()

    def _make_request_call_future(self, method: bytes | None) -> asyncio.Future[Any]:
        """Returns a future for the next call of a registered method; for None one that never ends."""
        if method is not None:
            call: asyncio.Future[Any] = super()._make_request_call_future(method)
            return call
        return asyncio.get_running_loop().create_task(self._answer_unregistered())

    async def _answer_unregistered(self) -> None:
        """Answers UNIMPLEMENTED until gRPC raises its own error at the server's end."""
        loop, answering = asyncio.get_running_loop(), set[asyncio.Task[None]]()
        resolver = cygrpc._MethodResolver([], {})  # noqa: SLF001 - see the module
        while True:
            call = await self._request_call()
            answer = cygrpc._handle_rpc(_NO_METHOD, resolver, self._interceptors, call, loop, False)  # noqa: SLF001
            task = loop.create_task(cygrpc._schedule_rpc_coro(answer, call, loop, _NO_METHOD))  # noqa: SLF001
            answering.add(task)
            task.add_done_callback(answering.discard)


def aio_server(
    *, options: Sequence[tuple[str, Any]], interceptors: Sequence[grpc.aio.ServerInterceptor]
) -> grpc.aio.Server:
    """Returns a server as `grpc.aio.server` does, but one that answers registered methods only."""
    original = cygrpc.AioServer
    cygrpc.AioServer = type("AioServer", (RobustAioServer,), {"_interceptors": tuple(interceptors)})
    try:
        return grpc.aio.server(options=options, interceptors=interceptors)
    finally:
        cygrpc.AioServer = original
