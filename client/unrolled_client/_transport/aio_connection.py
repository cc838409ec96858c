"""Channels and calls of the asynchronous client, for one event loop."""

import time
from collections.abc import AsyncIterator, Iterator
from itertools import cycle
from typing import TYPE_CHECKING, Any, Literal

import grpc
import grpc.aio

from unrolled_client._transport.call_errors import has_lost_server
from unrolled_client._transport.connection import seconds_left
from unrolled_client._transport.endpoint import Endpoint
from unrolled_client._transport.green_threads import refuse_aio
from unrolled_client._transport.load_balancing import Metadata
from unrolled_client._transport.target import grpc_target

if TYPE_CHECKING:
    from unrolled_client._transport.tracing import Tracing


class AioConnection:
    """The channels of one event loop, made while it runs; calls use them in turn."""

    def __init__(self, endpoint: Endpoint, *, tracing: "Tracing | None") -> None:
        self._channels = [open_aio_channel(endpoint) for _ in range(endpoint.channels)]
        self._methods: dict[str, Iterator[Any]] = {}
        self._tracing = tracing

    async def call(
        self, path: str, data: bytes, *, timeout_s: float | None, metadata: Metadata | None
    ) -> bytes:
        """Makes a unary call, and once more if its server was lost: asking twice changes nothing."""
        begin_s = time.monotonic()
        try:
            return await self._attempt(path, data, timeout_s, metadata)
        except grpc.RpcError as error:
            if not has_lost_server(error):
                raise
        return await self._attempt(path, data, seconds_left(timeout_s, since_s=begin_s), metadata)

    def open_stream(
        self, path: str, requests: AsyncIterator[bytes], *, timeout_s: float | None, metadata: Metadata | None
    ) -> Any:
        """Starts a call with streams both ways, and returns grpc.aio's call."""
        method = next(self._methods.get(path) or self._open(path, "stream_stream"))
        if self._tracing is None:
            return method(requests, timeout=timeout_s, metadata=metadata)
        span, metadata = self._tracing.start(path, metadata)
        stream = method(requests, timeout=timeout_s, metadata=metadata)
        self._tracing.end_with_stream(span, stream)
        return stream

    async def close(self) -> None:
        """Closes the channels, which cancels their calls."""
        for channel in self._channels:
            await channel.close()

    async def _attempt(
        self, path: str, data: bytes, timeout_s: float | None, metadata: Metadata | None
    ) -> bytes:
        method = next(self._methods.get(path) or self._open(path, "unary_unary"))
        reply: bytes
        if self._tracing is None:
            reply = await method(data, timeout=timeout_s, metadata=metadata)
        else:
            with self._tracing.call(path, metadata) as traced:
                reply = await method(data, timeout=timeout_s, metadata=traced)
        return reply

    def _open(self, path: str, kind: Literal["unary_unary", "stream_stream"]) -> Iterator[Any]:
        """Returns a method of the channels in turn."""
        self._methods[path] = cycle([getattr(channel, kind)(path) for channel in self._channels])
        return self._methods[path]


def open_aio_channel(endpoint: Endpoint) -> grpc.aio.Channel:
    """Returns a channel of the running event loop, which connects on first use."""
    refuse_aio()
    options, credentials = endpoint.channel_options(), endpoint.credentials
    if credentials is None:
        return grpc.aio.insecure_channel(grpc_target(endpoint.target), options=options)
    return grpc.aio.secure_channel(grpc_target(endpoint.target), credentials, options=options)
