"""What an asynchronous client has for each event loop: channels and a merger.

It is a file of its own because it is the one place that opens grpc.aio's channels; the client only calls.
"""

import time
from collections.abc import Callable
from typing import Any, Literal

import grpc
import grpc.aio

from unrolled_client._coalescing import Merger, Send
from unrolled_client._transport.endpoint import Endpoint, seconds_left, was_cut
from unrolled_client._transport.green_threads import refuse_aio
from unrolled_client._transport.target import grpc_target
from unrolled_client.errors import ClosedError


class Wire:
    """The channels and the merger of one event loop; made while it runs."""

    def __init__(self, endpoint: Endpoint, *, send: Send) -> None:
        self._endpoint = endpoint
        self._channels = [open_aio_channel(endpoint) for _ in range(endpoint.channels)]
        self._methods: dict[str, Callable[..., Any]] = {}
        self._tracing = endpoint.tracing()
        self.merger = Merger(send, target=endpoint.target, tracing=self._tracing)

    def unary(self, path: str) -> Callable[..., Any]:
        """A unary method: bytes, `timeout` and perhaps `metadata` in, a coroutine that gives bytes out."""
        return self._methods.get(path) or self._opened(path, kind="unary_unary")

    def stream(self, path: str) -> Callable[..., Any]:
        """A method with streams both ways."""
        return self._methods.get(path) or self._opened(path, kind="stream_stream")

    def _opened(self, path: str, *, kind: Literal["unary_unary", "stream_stream"]) -> Callable[..., Any]:
        methods = [getattr(channel, kind)(path) for channel in self._channels]
        method = self._endpoint.method(methods)
        if self._tracing:
            trace = self._tracing.unary_aio if kind == "unary_unary" else self._tracing.stream_aio
            method = trace(method, path)
        if kind == "unary_unary":
            method = _again_if_cut(method)
        self._methods[path] = method
        return method

    async def close(self, error: ClosedError) -> None:
        """Ends the channels; calls that wait for them get the error."""
        self.merger.close(error)
        for channel in self._channels:
            await channel.close()


def _again_if_cut(method: Callable[..., Any]) -> Callable[..., Any]:
    """As `_channel.again_if_cut`, for coroutines."""

    async def call(data: bytes, *, timeout: float | None, **more: Any) -> Any:  # noqa: ASYNC109 - as grpc.aio's
        begin_s = time.monotonic()
        try:
            return await method(data, timeout=timeout, **more)
        except grpc.RpcError as error:
            if not was_cut(error):
                raise
        return await method(data, timeout=seconds_left(timeout, since_s=begin_s), **more)

    return call


def open_aio_channel(endpoint: Endpoint) -> grpc.aio.Channel:
    """Returns a channel for the running event loop, which connects when it is used."""
    refuse_aio()
    options, credentials = endpoint.channel_options(), endpoint.credentials
    if credentials is None:
        return grpc.aio.insecure_channel(grpc_target(endpoint.target), options=options)
    return grpc.aio.secure_channel(grpc_target(endpoint.target), credentials, options=options)
