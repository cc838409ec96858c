"""The channel arguments of the gRPC server: every limit of the transport, with its reason."""

from typing import Any

from unrolled_server.settings import Settings

# A client that connects and sends nothing is disconnected; gRPC's default is two minutes.
_HANDSHAKE_TIMEOUT_MS = 20_000
# A peer that acknowledges neither a ping nor data within this time is gone.
_KEEPALIVE_TIMEOUT_MS = 20_000
# The SDK pings every 300 s, other clients every minute. gRPC's default limit is 300 s, which clients that
# ping every 300 s now and then break.
_MIN_PING_INTERVAL_MS = 30_000
# Calls that arrived before the event loop got to them; each takes about 20 KiB.
_MAX_PENDING_CALLS = 10_000


def channel_arguments(settings: Settings, *, shares_port: bool) -> list[tuple[str, Any]]:
    """Returns the arguments of a server that has its port to itself, or shares it with other workers."""
    arguments = {
        # With gRPC's default, 1, a second server would silently share the port.
        "grpc.so_reuseport": int(shares_port),
        # Above its default of 1,000 gRPC cancels random calls of any client; admission refuses more fairly.
        "grpc.server.max_pending_requests": _MAX_PENDING_CALLS,
        "grpc.server.max_pending_requests_hard_limit": _MAX_PENDING_CALLS,
        "grpc.max_receive_message_length": settings.max_request_bytes,
        "grpc.max_send_message_length": -1,  # validation limits replies
        # Two equal limits, because gRPC refuses sizes between them at random.
        "grpc.max_metadata_size": settings.max_metadata_bytes,
        "grpc.absolute_max_metadata_size": settings.max_metadata_bytes,
        "grpc.max_concurrent_streams": settings.max_streams_per_connection,
        "grpc.max_allowed_incoming_connections": settings.max_connections,
        "grpc.server_handshake_timeout_ms": _HANDSHAKE_TIMEOUT_MS,
        "grpc.keepalive_time_ms": _ms(settings.keepalive_s),
        "grpc.keepalive_timeout_ms": _KEEPALIVE_TIMEOUT_MS,
        "grpc.http2.ping_timeout_ms": _KEEPALIVE_TIMEOUT_MS,  # else a ping has a minute
        "grpc.keepalive_permit_without_calls": 1,  # else an idle client that vanished stays for ever
        "grpc.http2.max_pings_without_data": 0,  # else gRPC stops after two pings, with the same effect
        "grpc.http2.min_recv_ping_interval_without_data_ms": _MIN_PING_INTERVAL_MS,
    }
    if settings.max_connection_age_s:
        arguments["grpc.max_connection_age_ms"] = _ms(settings.max_connection_age_s)
        arguments["grpc.max_connection_age_grace_ms"] = _ms(settings.drain_timeout_s)
    if settings.max_connection_idle_s:
        arguments["grpc.max_connection_idle_ms"] = _ms(settings.max_connection_idle_s)
    return list(arguments.items())


def _ms(seconds: float) -> int:
    return round(seconds * 1e3)
