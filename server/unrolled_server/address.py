"""Listening on an address that nobody else has, or saying why not."""

import contextlib
import fcntl
import socket
from collections.abc import Iterator
from pathlib import Path

import grpc
import grpc.aio

from unrolled_server.port import UNIX, AddressError


@contextlib.contextmanager
def listening(
    server: grpc.aio.Server, address: str, *, credentials: grpc.ServerCredentials | None = None
) -> Iterator[str]:
    """Binds `server`; gives the address as a client takes it, with the port that was found for port 0.

    With credentials it speaks TLS there, else clear text.

    Raises:
        AddressError: The address is taken, malformed or not of this machine.
    """
    with _owning(address):
        try:
            port = (
                server.add_insecure_port(address)
                if credentials is None
                else server.add_secure_port(address, credentials)
            )
        except RuntimeError:
            raise AddressError(
                f"cannot listen on {address}: {_why(address)}; choose another --address"
            ) from None
        yield address if address.startswith(UNIX) else f"{address.rpartition(':')[0]}:{port}"


@contextlib.contextmanager
def _owning(address: str) -> Iterator[None]:
    """Holds the lock beside a Unix socket.

    gRPC unlinks a socket that is there, and so would take a running server's address in silence.
    """
    if not address.startswith(UNIX):
        yield
        return
    try:
        lock = Path(f"{address.removeprefix(UNIX)}.lock").open("w")  # noqa: SIM115 - closed by the with below
    except OSError as error:
        raise AddressError(
            f"cannot listen on {address}: {error.strerror}; choose another --address"
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AddressError(
                f"cannot listen on {address}: another server holds it; stop it or choose another --address"
            ) from None
        yield


def _why(address: str) -> str:
    """What the operating system says about binding `address`, which gRPC does not pass on."""
    try:
        if address.startswith(UNIX):
            with socket.socket(socket.AF_UNIX) as probe:
                probe.bind(address.removeprefix(UNIX))
        else:
            host, _, port = address.rpartition(":")
            family, kind, protocol, _, sockaddr = socket.getaddrinfo(host.strip("[]"), int(port))[0]
            with socket.socket(family, kind, protocol) as probe:
                probe.bind(sockaddr)
    except OSError as error:
        return error.strerror or str(error)
    return "gRPC refused it"
