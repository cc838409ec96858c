"""Channels and calls of the synchronous client."""

import threading
import time
from collections.abc import Iterator
from itertools import cycle
from typing import Any, Literal

import grpc

from unrolled_client._transport.call_errors import has_lost_server
from unrolled_client._transport.endpoint import Endpoint
from unrolled_client._transport.fork_safety import RUNNING_CALLS, register
from unrolled_client._transport.green_threads import adapt_grpc
from unrolled_client._transport.load_balancing import Metadata
from unrolled_client._transport.target import grpc_target


class Connection:
    """The channels of a client, opened on first use and again in a forked child; calls use them in turn."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._tracing = endpoint.tracing()
        self._lock = threading.Lock()
        self._channels: list[grpc.Channel] = []
        self._methods: dict[str, Iterator[Any]] = {}
        self._is_closed = False
        register(self)

    def call(self, path: str, data: bytes, *, timeout_s: float | None, metadata: Metadata | None) -> bytes:
        """Makes a unary call, and once more if its server was lost: asking twice changes nothing.

        Raises:
            grpc.RpcError: The call failed.
            ValueError: The connection is closed.
        """
        begin_s = time.monotonic()
        with RUNNING_CALLS:
            try:
                return self._attempt(path, data, timeout_s, metadata)
            except grpc.RpcError as error:
                if not has_lost_server(error):
                    raise
            return self._attempt(path, data, seconds_left(timeout_s, since_s=begin_s), metadata)

    def open_stream(
        self, path: str, requests: Iterator[bytes], *, timeout_s: float | None, metadata: Metadata | None
    ) -> Any:
        """Starts a call with streams both ways, and returns gRPC's iterator of replies.

        Raises:
            ValueError: The connection is closed.
        """
        method = next(self._methods.get(path) or self._open(path, "stream_stream"))
        if self._tracing is None:
            return method(requests, timeout=timeout_s, metadata=metadata)
        span, metadata = self._tracing.start(path, metadata)
        stream = method(requests, timeout=timeout_s, metadata=metadata)
        self._tracing.end_with_stream(span, stream)
        return stream

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

    def _open(self, path: str, kind: Literal["unary_unary", "stream_stream"]) -> Iterator[Any]:
        """Returns a method of the channels in turn."""
        with self._lock:
            if self._is_closed:
                raise ValueError("the connection is closed")  # as a closed channel of gRPC's does
            if not self._channels:
                self._channels = [open_channel(self._endpoint) for _ in range(self._endpoint.channels)]
            methods = cycle([getattr(channel, kind)(path) for channel in self._channels])
            return self._methods.setdefault(path, methods)


def open_channel(endpoint: Endpoint) -> grpc.Channel:
    """Returns a channel, which connects on first use."""
    adapt_grpc()
    options, credentials = endpoint.channel_options(), endpoint.credentials
    if credentials is None:
        return grpc.insecure_channel(grpc_target(endpoint.target), options=options)
    return grpc.secure_channel(grpc_target(endpoint.target), credentials, options=options)


def seconds_left(limit_s: float | None, *, since_s: float) -> float | None:
    """Returns what is left, 0 or more, of a limit that began at `since_s` of the monotonic clock."""
    return None if limit_s is None else max(limit_s - (time.monotonic() - since_s), 0.0)
