"""The contract at Serve's gRPC proxy: messages pass as bytes, and failed calls end as gRPC's clients expect.

A file of its own because it runs in Serve's proxy, not in a replica, and must load no engine. Serve puts its
own answer in the place of each handler here; what is around it is ours, because Serve by itself

- ends a failed unary call with an empty message before the status, after which no gRPC client tries again:
  neither what is overloaded nor what has lost its replica;
- says INTERNAL when a replica dies with a call, and NOT_FOUND while a proxy has not heard of the application,
  as if asking again were of no use;
- tells replicas nothing of a call's deadline.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any

import grpc
import grpc.aio
from unrolled.v1 import forward_pb2 as pb

from unrolled_server.ray_serve.deadline_metadata import with_time_left

_SERVICE = pb.DESCRIPTOR.services_by_name["ForwardService"]
_DETAILS_KEY = "grpc-status-details-bin"
_OK: int = grpc.StatusCode.OK.value[0]
LOST = "Ray Serve lost the replica that had this call; a retry takes another"
# What Serve, not a service, says of calls that may be sent again, and what their callers are told: of an
# error in a replica Serve tells the traceback. None stands for Serve's own words.
_PASSING: Mapping[int, str | None] = {
    grpc.StatusCode.INTERNAL.value[0]: LOST,
    grpc.StatusCode.NOT_FOUND.value[0]: None,
    # Its queue is full. gRPC tries unary calls of either code again; streams go again after this one only.
    grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]: None,
}

_Context = grpc.aio.ServicerContext[bytes, bytes]
_Unary = Callable[[bytes, Any], Awaitable[bytes]]
_Stream = Callable[[AsyncIterator[bytes], Any], AsyncGenerator[bytes, None]]


def add_forward_service(_servicer: object, server: grpc.aio.Server) -> None:
    """Adds the contract to Serve's proxy; one of its `grpc_servicer_functions`."""
    server.add_generic_rpc_handlers((Edge(),))


class Edge(grpc.GenericRpcHandler):
    """The contract's methods, around what Serve has put in their place.

    Serve finds them in `_method_handlers`, as in gRPC's own handlers, and replaces them there.
    """

    def __init__(self) -> None:
        self._method_handlers: dict[str, Any] = {
            f"/{_SERVICE.full_name}/{method.name}": (
                grpc.stream_stream_rpc_method_handler(_replaced)
                if method.client_streaming
                else grpc.unary_unary_rpc_method_handler(_replaced)
            )
            for method in _SERVICE.methods
        }

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """The handler of a call; None if it is for another service."""
        handler = self._method_handlers.get(handler_call_details.method)
        if handler is None:
            return None
        if handler.request_streaming:
            return grpc.stream_stream_rpc_method_handler(partial(_answer_stream, handler.stream_stream))
        return grpc.unary_unary_rpc_method_handler(partial(_answer, handler.unary_unary))


async def _answer(serve: _Unary, request: bytes, context: _Context) -> bytes:
    reply = await serve(request, Passed(context))
    await _end(context)
    return reply


async def _answer_stream(
    serve: _Stream, requests: AsyncIterator[bytes], context: _Context
) -> AsyncIterator[bytes]:
    async with aclosing(serve(requests, Passed(context))) as replies:
        async for reply in replies:
            if _code_of(context) == _OK:  # else it is what carries the status here
                yield reply
    await _end(context)


async def _end(context: _Context) -> None:
    """Ends a failed call with its status alone."""
    code = _code_of(context)
    if code == _OK:
        return
    details = str(context.details())
    try:
        if code in _PASSING and not _is_ours(context.trailing_metadata() or ()):
            await context.abort(grpc.StatusCode.UNAVAILABLE, _PASSING[code] or details)
        await context.abort(_STATUS_CODES[code], details)
    except grpc.aio.InternalError:  # the client is gone, as after a call that it cancelled
        raise asyncio.CancelledError from None


def _code_of(context: _Context) -> int:
    """GRPC's own contexts give a number."""
    code: Any = context.code()
    return code.value[0] if isinstance(code, grpc.StatusCode) else int(code or _OK)


def _is_ours(trailing_metadata: Iterable[tuple[str, str | bytes]]) -> bool:
    """Whether a service said so: its refusals have details, Serve's own have none."""
    return any(key == _DETAILS_KEY for key, _ in trailing_metadata)


class Passed:
    """A call's context as Serve sees it: with what the call has left among its metadata."""

    def __init__(self, context: _Context) -> None:
        self._context = context

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def invocation_metadata(self) -> list[tuple[str, str | bytes]]:
        """What the caller sent, and the time left."""
        metadata: Any = self._context.invocation_metadata() or ()
        return with_time_left(metadata, self._context.time_remaining())


_STATUS_CODES = {code.value[0]: code for code in grpc.StatusCode}


def _replaced(_request: object, _context: object) -> Any:
    raise NotImplementedError("Serve puts its own answer here")
