"""Health check of this machine's server: `python -m unrolled_server.probe` exits with 0 if it serves, else 1.

It speaks HTTP/2 by itself, because gRPC for Python cannot skip the check of a certificate's name on loopback.
"""

import contextlib
import socket
import ssl
import sys

from grpc_health.v1 import health_pb2
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError
from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from unrolled_server.settings.address_forms import UNIX, split_host_port
from unrolled_server.settings.model import DEFAULT_ADDRESS, Address, File, describe_errors

TIMEOUT_S = 5.0
_RECEIVE_BYTES = 2**16
# Where to connect for wildcards; literal addresses, because a machine may resolve no names.
_WILDCARDS = {"::": ("::1", "127.0.0.1"), "0.0.0.0": ("127.0.0.1",)}  # noqa: S104 - read, not bound
# Before a gRPC message: a byte for compression, four for its length. An empty request has no bytes.
_MESSAGE_HEADER = bytes(5)
_REQUEST_HEADERS = (
    (":method", "POST"),
    (":scheme", "http"),
    (":authority", "localhost"),
    (":path", "/grpc.health.v1.Health/Check"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
)


class ProbeError(Exception):
    """The server does not serve; the message says what it did instead."""


class ProbeSettings(BaseSettings):
    """The server's settings that say how to reach it, from `UNROLLED_*`."""

    model_config = SettingsConfigDict(
        env_prefix="UNROLLED_", env_ignore_empty=True, extra="ignore", frozen=True
    )

    address: Address = DEFAULT_ADDRESS
    tls_certificate: File = None
    tls_key: File = None
    tls_client_ca: File = None


def main() -> int:
    """Checks the server, prints the result, returns the exit code."""
    try:
        settings = ProbeSettings()
        check(settings)
    except ValidationError as error:
        print(describe_errors(error), file=sys.stderr)  # noqa: T201 - a command's output
        return 1
    except (OSError, ProtocolError, ProbeError) as error:
        print(f"{settings.address} does not serve: {error}", file=sys.stderr)  # noqa: T201 - a command's output
        return 1
    print(f"{settings.address} serves")  # noqa: T201 - a command's output
    return 0


def check(settings: ProbeSettings) -> None:
    """Returns if the server serves.

    Raises:
        ProbeError: It reports another status, or sends no valid answer.
        OSError: It cannot be reached, does not answer in time, or TLS fails.
        ProtocolError: It does not speak HTTP/2.
    """
    with contextlib.ExitStack() as stack:
        connection = _connect(settings.address, stack)
        if settings.tls_certificate is not None:
            connection = stack.enter_context(_tls_context(settings).wrap_socket(connection))
        reply = _call(connection)
    status = health_pb2.HealthCheckResponse.FromString(reply[len(_MESSAGE_HEADER) :]).status
    if status != health_pb2.HealthCheckResponse.SERVING:
        raise ProbeError(health_pb2.HealthCheckResponse.ServingStatus.Name(status))


def _connect(address: str, stack: contextlib.ExitStack) -> socket.socket:
    """Returns a connection, which the stack closes."""
    if address.startswith(UNIX):
        connection = stack.enter_context(socket.socket(socket.AF_UNIX))
        connection.settimeout(TIMEOUT_S)
        connection.connect(address.removeprefix(UNIX))
        return connection
    host, port = split_host_port(address)
    *others, last = _WILDCARDS.get(host, (host,))
    for ip in others:
        with contextlib.suppress(OSError):  # a machine may have one IP version only
            return stack.enter_context(socket.create_connection((ip, port), timeout=TIMEOUT_S))
    return stack.enter_context(socket.create_connection((last, port), timeout=TIMEOUT_S))


def _tls_context(settings: ProbeSettings) -> ssl.SSLContext:
    """Returns TLS that accepts any certificate.

    Packets never leave the machine, and nothing secret is sent. The certificate has the names that clients
    call, not loopback's; and its file may already hold the next one.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    if settings.tls_client_ca is not None and settings.tls_certificate is not None:
        # The server wants a certificate of its clients, and its own is at hand.
        context.load_cert_chain(settings.tls_certificate, settings.tls_key)
    return context


def _call(connection: socket.socket) -> bytes:
    """Returns the health service's reply with its message header."""
    http = H2Connection()
    http.initiate_connection()
    http.send_headers(1, _REQUEST_HEADERS)
    http.send_data(1, _MESSAGE_HEADER, end_stream=True)
    connection.sendall(http.data_to_send())
    reply = b""
    while received := connection.recv(_RECEIVE_BYTES):
        for event in http.receive_data(received):
            if isinstance(event, DataReceived):
                reply += event.data
            elif isinstance(event, ResponseReceived | TrailersReceived):
                _check_status(dict(event.headers))
            elif isinstance(event, StreamEnded):
                return reply
            elif isinstance(event, StreamReset | ConnectionTerminated):
                raise ProbeError(f"it ended the call with HTTP/2 error {event.error_code}")
        connection.sendall(http.data_to_send())
    raise ProbeError("it closed the connection before it answered")


def _check_status(headers: dict[bytes, bytes]) -> None:
    """Raises if the call failed. Its status comes in the trailers, or in the only headers."""
    status, message = headers.get(b"grpc-status", b"0"), headers.get(b"grpc-message", b"")
    if status != b"0":
        raise ProbeError(f"its health service answers gRPC status {status.decode()}: {message.decode()}")


if __name__ == "__main__":
    sys.exit(main())
