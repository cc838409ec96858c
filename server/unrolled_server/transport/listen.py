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
from unrolled_server.settings.address_forms import UNIX
from unrolled_server.transport.address import listeners, refusal


@contextlib.contextmanager
def listen(
    server: grpc.aio.Server, address: str, *, credentials: grpc.ServerCredentials | None = None
) -> Iterator[str]:
    """Binds `server`; yields the address for clients, with the port that was found for port 0.

    With credentials the server speaks TLS there, else clear text. It replaces a Unix socket that an earlier
    server left.

    Raises:
        AddressError: The address is taken, malformed or not of this machine.
    """
    with _lock_socket(address):
        try:
            name = _grpc_address(address)
            port = (
                server.add_insecure_port(name)
                if credentials is None
                else server.add_secure_port(name, credentials)
            )
        except RuntimeError:  # gRPC does not pass the system's error on
            _bind_without_grpc(address)
            raise refusal(address, "gRPC refused it") from None
        yield address if address.startswith(UNIX) else f"{address.rpartition(':')[0]}:{port}"


def _grpc_address(address: str) -> str:
    """Returns the address in gRPC's notation, where a path is part of a URI: % starts an escaped byte."""
    if not address.startswith(UNIX):
        return address
    return f"{UNIX}{quote(os.fsencode(address.removeprefix(UNIX)))}"


@contextlib.contextmanager
def _lock_socket(address: str) -> Iterator[None]:
    """Holds a lock file beside a Unix socket, because gRPC would silently replace a running server's socket.

    Not by filelock, which creates missing folders.
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
        # For appending, so that another program's file of that name keeps its content.
        lock = lock_path.open("a")  # closed by the with below
    except OSError as error:
        raise refusal(address, f"{lock_path}: {error.strerror}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AddressError(
                f"cannot listen on {address}: another server holds it; stop it or choose another --address"
            ) from None
        yield


def _bind_without_grpc(address: str) -> None:
    """Raises an AddressError with the system's reason if it refuses the address."""
    if not address.startswith(UNIX):
        for each in listeners(address, flag="--address"):
            each.close()
        return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.bind(address.removeprefix(UNIX))
        except OSError as error:
            raise refusal(address, error) from None
