"""Binds a gRPC server to an address that no other server has, or explains why that is impossible."""

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import grpc
import grpc.aio

from unrolled_server.exit_codes import AddressError
from unrolled_server.settings.address_forms import UNIX, split_host_port


@contextlib.contextmanager
def listening(
    server: grpc.aio.Server, address: str, *, credentials: grpc.ServerCredentials | None = None
) -> Iterator[str]:
    """Binds `server`; gives the address as a client takes it, with the port that was found for port 0.

    With credentials it speaks TLS there, else clear text. What lies at the path of a Unix socket is replaced
    if it is a socket that no server holds.

    Raises:
        AddressError: The address is taken, malformed or not of this machine.
    """
    with _owning(address):
        try:
            name = _name_for_grpc(address)
            port = (
                server.add_insecure_port(name)
                if credentials is None
                else server.add_secure_port(name, credentials)
            )
        except RuntimeError:
            raise AddressError(
                f"cannot listen on {address}: {_why(address)}; choose another --address"
            ) from None
        yield address if address.startswith(UNIX) else f"{address.rpartition(':')[0]}:{port}"


def _name_for_grpc(address: str) -> str:
    """Returns the address in gRPC's notation, where a path is part of a URI: % begins an escaped byte."""
    if not address.startswith(UNIX):
        return address
    return f"{UNIX}{quote(os.fsencode(address.removeprefix(UNIX)))}"


@contextlib.contextmanager
def _owning(address: str) -> Iterator[None]:
    """Holds the lock beside a Unix socket.

    gRPC unlinks a socket that is there, and so would take a running server's address without a word.
    """
    if not address.startswith(UNIX):
        yield
        return
    path = Path(address.removeprefix(UNIX))
    if path.is_symlink():
        raise AddressError(
            f"cannot listen on {address}: it is a symbolic link, which gRPC would replace; "
            "give the path of the socket itself"
        )
    lock_path = Path(f"{path}.lock")
    try:
        # Appending, so that a file of that name which is something else keeps its content.
        lock = lock_path.open("a")  # closed by the with below
    except OSError as error:
        raise AddressError(
            f"cannot listen on {address}: {lock_path}: {error.strerror}; choose another --address"
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
    """Returns what the operating system says about binding `address`, which gRPC does not pass on."""
    try:
        if address.startswith(UNIX):
            with socket.socket(socket.AF_UNIX) as probe:
                probe.bind(address.removeprefix(UNIX))
        else:
            family, kind, protocol, _, sockaddr = socket.getaddrinfo(*split_host_port(address))[0]
            with socket.socket(family, kind, protocol) as probe:
                probe.bind(sockaddr)
    except OSError as error:
        return error.strerror or str(error)
    return "gRPC refused it"
