"""Channels to a server: every option of the transport, and every deadline, is decided here.

It is a file of its own because the synchronous and the asynchronous client open the same channel, each with
its own half of grpc.
"""

import math
from collections.abc import Sequence
from enum import Enum
from typing import Any, Literal, TypeAlias

import grpc

from unrolled_client.errors import InvalidRequestError

FORWARD = "/unrolled.v1.ForwardService/Forward"
GET_SERVER_INFO = "/unrolled.v1.ForwardService/GetServerInfo"

DEFAULT_TARGET = "localhost:50051"
DEFAULT_TIMEOUT_S = 30.0

ChannelOptions: TypeAlias = Sequence[tuple[str, Any]]


class _Default(Enum):
    """Tells "not given" from None, which means "no deadline"."""

    DEFAULT = "the client's timeout_s"


DEFAULT = _Default.DEFAULT
Timeout: TypeAlias = float | Literal[_Default.DEFAULT] | None

_MIB = 2**20
_UNLIMITED = -1

# At most five attempts, which is gRPC's own limit. They last about 1.5 s: enough for a server that restarts
# behind its address, little enough to wait for when it is not there. Written as text, because json would be
# a twentieth of this package's import time.
_SERVICE_CONFIG = """{"methodConfig": [{
    "name": [
        {"service": "unrolled.v1.ForwardService", "method": "Forward"},
        {"service": "unrolled.v1.ForwardService", "method": "GetServerInfo"}
    ],
    "retryPolicy": {
        "maxAttempts": 5,
        "initialBackoff": "0.1s",
        "maxBackoff": "1s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"]
    }
}]}"""
_OPTIONS: dict[str, Any] = {
    # The server bounds requests and replies; gRPC's own 4 MiB would only cut large replies off.
    "grpc.max_receive_message_length": _UNLIMITED,
    "grpc.max_send_message_length": _UNLIMITED,
    "grpc.service_config": _SERVICE_CONFIG,
    # A request beyond this is not kept for another attempt; gRPC's default is 256 KiB.
    "grpc.per_rpc_retry_buffer_size": 64 * _MIB,
    # Retries are of no use while gRPC itself waits a second before it connects again.
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 5_000,
    # Servers that are not told otherwise drop clients that ping more often than every five minutes. Set at
    # all, it also makes Linux give up a peer that acknowledges nothing for the timeout.
    "grpc.keepalive_time_ms": 300_000,
    "grpc.keepalive_timeout_ms": 20_000,
}


def channel_options(options: ChannelOptions) -> list[tuple[str, Any]]:
    """The arguments of a channel: this package's, overridden by the user's."""
    return list({**_OPTIONS, **dict(options)}.items())


def open_channel(target: str, *, options: ChannelOptions) -> grpc.Channel:
    """A channel to `target`, in gRPC's notation (HOST:PORT, unix:PATH, dns:///NAME); connects when used."""
    return grpc.insecure_channel(target, options=channel_options(options))


def resolve_timeout_s(timeout_s: Timeout, *, default_s: float | None) -> float | None:
    """The seconds that a call may take; None for no end.

    Raises:
        InvalidRequestError: It is not above 0.
    """
    if timeout_s is DEFAULT:
        return default_s
    if timeout_s is None or timeout_s == math.inf:
        return None
    if not timeout_s > 0:  # false for NaN too
        raise InvalidRequestError(f"timeout_s is {timeout_s}; it must be above 0, or None for no deadline")
    return timeout_s
