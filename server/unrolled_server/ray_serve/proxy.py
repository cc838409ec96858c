"""The contract in Serve's gRPC proxy: messages pass as bytes, errors as gRPC clients expect them.

Serve replaces each handler here by its own; `ForwardServiceHandler` wraps them, because Serve by itself

- sends an empty message before the status of a failed unary call, after which no gRPC client retries;
- answers INTERNAL when a replica dies with a call, and NOT_FOUND while a proxy does not know the application
  yet, which clients do not retry;
- does not pass deadlines to replicas.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any

import grpc
import grpc.aio
from unrolled.v1 import forward_pb2 as pb

from unrolled_server.errors import DETAILS_KEY
from unrolled_server.ray_serve.deadline_metadata import with_time_left

_SERVICE = pb.DESCRIPTOR.services_by_name["ForwardService"]
_OK: int = grpc.StatusCode.OK.value[0]
LOST = "Ray Serve lost the replica that had this call; a retry takes another"
# Codes that Serve itself, not the service, gives to calls that may be retried, and the message for clients:
# Serve's own for INTERNAL is the replica's traceback. None leaves Serve's message.
_RETRYABLE: Mapping[int, str | None] = {
    grpc.StatusCode.INTERNAL.value[0]: LOST,
    grpc.StatusCode.NOT_FOUND.value[0]: None,
    # A full queue. gRPC retries unary calls with either code, but streams only with UNAVAILABLE.
    grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]: None,
}

_Context = grpc.aio.ServicerContext[bytes, bytes]
_Unary = Callable[[bytes, Any], Awaitable[bytes]]
_Stream = Callable[[AsyncIterator[bytes], Any], AsyncGenerator[bytes, None]]


def add_forward_service(_servicer: object, server: grpc.aio.Server) -> None:
    """Adds the contract to Serve's proxy; one of its `grpc_servicer_functions`."""
    server.add_generic_rpc_handlers((ForwardServiceHandler(),))


class ForwardServiceHandler(grpc.GenericRpcHandler):
    """The contract's methods, around Serve's handlers, which it puts into `_method_handlers`."""

    def __init__(self) -> None:
        self._method_handlers: dict[str, Any] = {
            f"/{_SERVICE.full_name}/{method.name}": (
                grpc.stream_stream_rpc_method_handler(_replaced_by_serve)
                if method.client_streaming
                else grpc.unary_unary_rpc_method_handler(_replaced_by_serve)
            )
            for method in _SERVICE.methods
        }

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> "grpc.RpcMethodHandler[Any, Any] | None":
        handler = self._method_handlers.get(handler_call_details.method)
        if handler is None:
            return None
        if handler.request_streaming:
            return grpc.stream_stream_rpc_method_handler(partial(_forward_stream, handler.stream_stream))
        return grpc.unary_unary_rpc_method_handler(partial(_forward, handler.unary_unary))


async def _forward(serve: _Unary, request: bytes, context: _Context) -> bytes:
    reply = await serve(request, ContextWithDeadline(context))
    await _end(context)
    return reply


async def _forward_stream(
    serve: _Stream, requests: AsyncIterator[bytes], context: _Context
) -> AsyncIterator[bytes]:
    async with aclosing(serve(requests, ContextWithDeadline(context))) as replies:
        async for reply in replies:
            if _code_of(context) == _OK:  # else an empty message beside the status
                yield reply
    await _end(context)


async def _end(context: _Context) -> None:
    """Ends a failed call with its status alone."""
    code = _code_of(context)
    if code == _OK:
        return
    details = str(context.details())
    try:
        if code in _RETRYABLE and not _is_from_service(context.trailing_metadata() or ()):
            await context.abort(grpc.StatusCode.UNAVAILABLE, _RETRYABLE[code] or details)
        await context.abort(_STATUS_CODES[code], details)
    except grpc.aio.InternalError:  # the client is gone, for example after a cancellation
        raise asyncio.CancelledError from None


def _code_of(context: _Context) -> int:
    """Returns the status code as a number, which grpc.aio's own contexts return at once."""
    code: Any = context.code()
    return code.value[0] if isinstance(code, grpc.StatusCode) else int(code or _OK)


def _is_from_service(trailing_metadata: Iterable[tuple[str, str | bytes]]) -> bool:
    """Returns whether the status is the service's: its errors have details, Serve's have none."""
    return any(key == DETAILS_KEY for key, _ in trailing_metadata)


class ContextWithDeadline:
    """A call's context for Serve, with the time left among its metadata."""

    def __init__(self, context: _Context) -> None:
        self._context = context

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def invocation_metadata(self) -> list[tuple[str, str | bytes]]:
        metadata: Any = self._context.invocation_metadata() or ()
        return with_time_left(metadata, self._context.time_remaining())


_STATUS_CODES = {code.value[0]: code for code in grpc.StatusCode}


def _replaced_by_serve(_request: object, _context: object) -> Any:
    raise NotImplementedError("Serve puts its own answer here")
