"""Channels and calls of both clients; the calls of a connection use its channels in turn."""

import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from functools import cache
from itertools import cycle
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import grpc
import grpc.aio

from unrolled_client._transport.call_errors import has_lost_server
from unrolled_client._transport.endpoint import Endpoint, Metadata
from unrolled_client._transport.fork_safety import register, running_calls
from unrolled_client._transport.target import grpc_target
from unrolled_client.errors import InvalidRequestError

if TYPE_CHECKING:
    from unrolled_client._transport.tracing import Tracing

Messages: TypeAlias = Iterator[bytes] | AsyncIterator[bytes]


class _BaseConnection:
    def __init__(
        self, endpoint: Endpoint, *, open_channel: Callable[[Endpoint], Any], tracing: "Tracing | None"
    ) -> None:
        self._endpoint = endpoint
        self._open_channel = open_channel
        self._tracing = tracing
        self._lock = threading.Lock()
        self._channels: list[Any] = []
        self._methods: dict[str, Iterator[Any]] = {}
        self._is_closed = False

    def open_stream(self, path: str, requests: Messages, *, metadata: Metadata | None) -> Any:
        """Starts a call with streams both ways and no deadline; ValueError if the connection is closed."""
        method = next(self._methods.get(path) or self._open(path, "stream_stream"))
        if self._tracing is None:
            return method(requests, metadata=metadata)
        span, metadata = self._tracing.start(path, metadata)
        stream = method(requests, metadata=metadata)
        self._tracing.end_with_stream(span, stream)
        return stream

    def _open(self, path: str, kind: Literal["unary_unary", "stream_stream"]) -> Iterator[Any]:
        """Returns a method of the channels in turn."""
        with self._lock:
            if self._is_closed:
                raise ValueError("the connection is closed")  # as a closed channel of gRPC's does
            if not self._channels:
                self._channels = [self._open_channel(self._endpoint) for _ in range(self._endpoint.channels)]
            methods = cycle([getattr(channel, kind)(path) for channel in self._channels])
            return self._methods.setdefault(path, methods)


class Connection(_BaseConnection):
    """The channels of a client, opened on first use and again in a forked child."""

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint, open_channel=open_channel, tracing=load_tracing(endpoint))
        register(self)

    def call(self, path: str, data: bytes, *, timeout_s: float | None, metadata: Metadata | None) -> bytes:
        """Makes a unary call, and once more if its server was lost: asking twice changes nothing.

        Raises grpc.RpcError if the call fails, and ValueError if the connection is closed.
        """
        begin_s = time.monotonic()
        with running_calls():
            try:
                return self._attempt(path, data, timeout_s, metadata)
            except grpc.RpcError as error:
                if not has_lost_server(error):
                    raise
            return self._attempt(path, data, _seconds_left(timeout_s, since_s=begin_s), metadata)

    def close(self) -> None:
        """Closes the channels, which cancels their calls."""
        with self._lock:
            self._is_closed = True
            for channel in self._channels:
                channel.close()

    def before_fork(self) -> bool:
        return False  # these channels survive a fork in the parent

    def after_fork_in_child(self) -> object:
        channels = self._channels
        self._lock = threading.Lock()  # a thread that does not exist here may hold the old one
        self._channels, self._methods = [], {}
        return channels

    def _attempt(self, path: str, data: bytes, timeout_s: float | None, metadata: Metadata | None) -> bytes:
        method = next(self._methods.get(path) or self._open(path, "unary_unary"))
        reply: bytes
        if self._tracing is None:
            reply = method(data, timeout=timeout_s, metadata=metadata)
        else:
            with self._tracing.call(path, metadata) as traced:
                reply = method(data, timeout=timeout_s, metadata=traced)
        return reply


class AioConnection(_BaseConnection):
    """The channels of one event loop, made while it runs."""

    def __init__(self, endpoint: Endpoint, *, tracing: "Tracing | None") -> None:
        super().__init__(endpoint, open_channel=open_aio_channel, tracing=tracing)
        self._channels = [open_aio_channel(endpoint) for _ in range(endpoint.channels)]

    async def call(
        self, path: str, data: bytes, *, timeout_s: float | None, metadata: Metadata | None
    ) -> bytes:
        """Makes a unary call as `Connection.call` does, asynchronously."""
        begin_s = time.monotonic()
        try:
            return await self._attempt(path, data, timeout_s, metadata)
        except grpc.RpcError as error:
            if not has_lost_server(error):
                raise
        return await self._attempt(path, data, _seconds_left(timeout_s, since_s=begin_s), metadata)

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


def open_channel(endpoint: Endpoint) -> grpc.Channel:
    """Returns a channel, which connects on first use."""
    _adapt_to_green_threads()
    target, options = grpc_target(endpoint.target), endpoint.channel_options()
    if (credentials := endpoint.credentials) is None:
        return grpc.insecure_channel(target, options=options)
    return grpc.secure_channel(target, credentials, options=options)


def open_aio_channel(endpoint: Endpoint) -> grpc.aio.Channel:
    """Returns a channel of the running event loop, which connects on first use."""
    if _is_gevent():
        raise InvalidRequestError(
            "gevent has patched this process's threads, with which AsyncClient's calls never end: use Client"
        )
    _adapt_to_green_threads()
    target, options = grpc_target(endpoint.target), endpoint.channel_options()
    if (credentials := endpoint.credentials) is None:
        return grpc.aio.insecure_channel(target, options=options)
    return grpc.aio.secure_channel(target, credentials, options=options)


def load_tracing(endpoint: Endpoint) -> "Tracing | None":
    """Returns what makes spans; None if calls are not traced."""
    if not endpoint.is_traced:
        return None
    try:
        from unrolled_client._transport.tracing import Tracing  # noqa: PLC0415 - it is an extra
    except ImportError:
        raise InvalidRequestError(
            "tracing needs OpenTelemetry, which is not installed: pip install 'unrolled[otel]'"
        ) from None
    return Tracing()


def _adapt_to_green_threads() -> None:
    """Initializes gRPC for gevent, and refuses eventlet, under which gRPC's own threads never run."""
    if _is_gevent():
        _initialize_for_gevent()
    eventlet = sys.modules.get("eventlet.patcher")
    if eventlet is not None and eventlet.is_monkey_patched("thread"):
        raise InvalidRequestError(
            "eventlet has patched this process's threads, with which gRPC's calls never end: use gevent, or "
            "eventlet.monkey_patch(thread=False)"
        )


def _is_gevent() -> bool:
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


@cache  # a second time would leave gRPC's greenlets in two groups
def _initialize_for_gevent() -> None:
    from grpc.experimental.gevent import init_gevent  # noqa: PLC0415 - it imports gevent

    init_gevent()


def _seconds_left(limit_s: float | None, *, since_s: float) -> float | None:
    """Returns what is left, 0 or more, of a limit that began at `since_s` of the monotonic clock."""
    return None if limit_s is None else max(limit_s - (time.monotonic() - since_s), 0.0)
