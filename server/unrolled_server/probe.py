"""Whether this machine's server serves: `python -m unrolled_server.probe`, exit code 0 if it does, else 1.

A container's health check and a pod's probes run it. It finds the server by the `UNROLLED_*` variables that
the server has read, and asks its health service. Kubernetes' own gRPC probe knows no TLS, and gRPC for Python
always checks the name in a certificate, which is hardly ever loopback's; so it speaks HTTP/2 over a socket of
its own, and has neither torch nor gRPC to load.
"""

import contextlib
import socket
import ssl
import struct
import sys
from collections.abc import Iterator

from grpc_health.v1 import health_pb2
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
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
RECEIVE_BYTES = 2**16
# What a server listens on for everybody, and where it is found then, also where no names are known.
EVERYWHERE = {"::": ("::1", "127.0.0.1"), "0.0.0.0": ("127.0.0.1",)}  # noqa: S104 - read, not bound
# A gRPC message on the wire: whether it is compressed, its length, itself.
MESSAGE_HEADER = struct.Struct(">?I")
REQUEST_HEADERS = (
    (":method", "POST"),
    (":scheme", "http"),
    (":authority", "localhost"),
    (":path", "/grpc.health.v1.Health/Check"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
)


class ProbeError(Exception):
    """The server does not serve; the message says what was seen instead."""


class ProbeSettings(BaseSettings):
    """The settings of the server that say how it is reached."""

    model_config = SettingsConfigDict(
        env_prefix="UNROLLED_", env_ignore_empty=True, extra="ignore", frozen=True
    )

    address: Address = DEFAULT_ADDRESS
    tls_certificate: File = None
    tls_key: File = None
    tls_client_ca: File = None


def main() -> int:
    """Asks the server, prints what it says, returns the exit code."""
    try:
        settings = ProbeSettings()
    except ValidationError as error:
        print(describe_errors(error), file=sys.stderr)  # noqa: T201 - a command's output
        return 1
    try:
        check(settings)
    except (OSError, ProtocolError, ProbeError) as error:
        print(f"{settings.address} does not serve: {error}", file=sys.stderr)  # noqa: T201 - a command's output
        return 1
    print(f"{settings.address} serves")  # noqa: T201 - a command's output
    return 0


def check(settings: ProbeSettings) -> None:
    """Returns if the server serves.

    Raises:
        ProbeError: It says that it does not, or what it says is no answer.
        OSError: It cannot be reached, does not answer in time, or TLS fails.
        ProtocolError: It does not speak HTTP/2.
    """
    with _connected(settings) as connection:
        reply = _ask(connection)
    status = health_pb2.HealthCheckResponse.FromString(reply[MESSAGE_HEADER.size :]).status
    if status != health_pb2.HealthCheckResponse.SERVING:
        raise ProbeError(health_pb2.HealthCheckResponse.ServingStatus.Name(status))


def _connected(settings: ProbeSettings) -> socket.socket:
    plain = _plain(settings.address)
    if settings.tls_certificate is None:
        return plain
    return _client_side(settings).wrap_socket(plain)


def _plain(address: str) -> socket.socket:
    if address.startswith(UNIX):
        return _plain_unix(address.removeprefix(UNIX))
    host, port = split_host_port(address)
    *others, last = EVERYWHERE.get(host, (host,))
    for place in others:
        with contextlib.suppress(OSError):  # a machine may have one IP version alone
            return socket.create_connection((place, port), timeout=TIMEOUT_S)
    return socket.create_connection((last, port), timeout=TIMEOUT_S)


def _plain_unix(path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(TIMEOUT_S)
    try:
        connection.connect(path)
    except OSError:
        connection.close()
        raise
    return connection


def _client_side(settings: ProbeSettings) -> ssl.SSLContext:
    """TLS that believes any certificate.

    The address is one that a server of this machine has bound, so packets never leave the machine, and
    nothing secret is sent. Certificates are of the name that callers use; and one that is read from the file
    to be trusted by itself is not the server's any more once the file has been renewed.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    if settings.tls_client_ca is not None and settings.tls_certificate is not None:
        # Where callers need a certificate, the server's own is the one at hand.
        context.load_cert_chain(settings.tls_certificate, settings.tls_key)
    return context


def _ask(connection: socket.socket) -> bytes:
    """The health service's reply as it travelled."""
    http = H2Connection(H2Configuration(client_side=True))
    http.initiate_connection()
    stream = http.get_next_available_stream_id()
    message = health_pb2.HealthCheckRequest().SerializeToString()
    http.send_headers(stream, REQUEST_HEADERS)
    http.send_data(stream, MESSAGE_HEADER.pack(False, len(message)) + message, end_stream=True)
    connection.sendall(http.data_to_send())
    reply = b""
    for event in _events(connection, http):
        if isinstance(event, DataReceived):
            reply += event.data
        elif isinstance(event, ResponseReceived | TrailersReceived):
            _judge(dict(event.headers))
        elif isinstance(event, StreamEnded):
            return reply
        elif isinstance(event, StreamReset | ConnectionTerminated):
            raise ProbeError(f"it ended the call with HTTP/2 error {event.error_code}")
    raise ProbeError("it closed the connection before it answered")


def _events(connection: socket.socket, http: H2Connection) -> Iterator[Event]:
    while received := connection.recv(RECEIVE_BYTES):
        yield from http.receive_data(received)
        connection.sendall(http.data_to_send())


def _judge(headers: dict[bytes, bytes]) -> None:
    """Raises if the call failed. Its status is the last thing to come, or all there is."""
    status = headers.get(b"grpc-status", b"0").decode()
    if status != "0":
        message = headers.get(b"grpc-message", b"").decode()
        raise ProbeError(f"its health service gives gRPC status {status}: {message}")


if __name__ == "__main__":
    sys.exit(main())
