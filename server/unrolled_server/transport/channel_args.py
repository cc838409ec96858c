"""What gRPC is told of the connections that it takes: every limit of the transport.

A file of its own because gRPC's arguments are names in no list, and most need a reason.
"""

from typing import Any

from unrolled_server.settings.model import Settings

# A client that connects and says nothing is let go; gRPC's own limit is two minutes.
_HANDSHAKE_TIMEOUT_MS = 20_000
# A peer that acknowledges neither a ping nor data for so long is gone.
_KEEPALIVE_TIMEOUT_MS = 20_000
# How often clients may ping: the SDK does every 300 s, others every minute. gRPC's own limit is 300 s, which
# clients that ping just as often break now and then.
_MIN_PING_INTERVAL_MS = 30_000
# Calls that arrived and that the event loop has not begun; each takes some 20 KiB.
_MAX_PENDING_CALLS = 10_000


def channel_arguments(settings: Settings, *, shares_port: bool) -> list[tuple[str, Any]]:
    """The arguments of a server that has its port for itself, or shares it with others of ours."""
    arguments = {
        # On, which is gRPC's default, a second server would share the port in silence.
        "grpc.so_reuseport": int(shares_port),
        # Beyond its thousand gRPC cancels calls at random, whoever floods it; refusing is for admission.
        "grpc.server.max_pending_requests": _MAX_PENDING_CALLS,
        "grpc.server.max_pending_requests_hard_limit": _MAX_PENDING_CALLS,
        "grpc.max_receive_message_length": settings.max_request_bytes,
        "grpc.max_send_message_length": -1,  # validation has bounded it
        # Two equal limits: between them gRPC refuses at random.
        "grpc.max_metadata_size": settings.max_metadata_bytes,
        "grpc.absolute_max_metadata_size": settings.max_metadata_bytes,
        "grpc.max_concurrent_streams": settings.max_streams_per_connection,
        "grpc.max_allowed_incoming_connections": settings.max_connections,
        "grpc.server_handshake_timeout_ms": _HANDSHAKE_TIMEOUT_MS,
        "grpc.keepalive_time_ms": _ms(settings.keepalive_s),
        "grpc.keepalive_timeout_ms": _KEEPALIVE_TIMEOUT_MS,
        "grpc.http2.ping_timeout_ms": _KEEPALIVE_TIMEOUT_MS,  # else the ping itself has a minute
        "grpc.keepalive_permit_without_calls": 1,  # else an idle client that vanished stays for ever
        "grpc.http2.max_pings_without_data": 0,  # likewise: gRPC sends two and then no more
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
