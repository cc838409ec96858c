"""Closes client connections by finding their sockets, because gRPC for Python offers no API for it.

A call whose client does not read cannot be ended: its status would wait behind its message.
"""

import os
import re
import socket
import stat
from collections.abc import Collection
from urllib.parse import unquote

_PEER = re.compile(r"ipv[46]:\[?(?P<host>[^\]]+)\]?:(?P<port>\d+)")
_MAPPED = "::ffff:"
_Address = tuple[str, int]


def disconnect(peers: Collection[str]) -> set[str]:
    """Closes this process's connections from peers such as "ipv4:127.0.0.1:50123"; returns those closed.

    To gRPC the clients seem to have gone. Clients of a Unix socket have no address and stay connected.
    """
    wanted = {address: peer for peer in peers if (address := _address_of(peer))}
    if not wanted:
        return set()
    try:
        descriptors = [int(name) for name in os.listdir("/dev/fd")]  # noqa: PTH208 - numbers, not paths
    except OSError:  # no file descriptor is free; the caller tries again later
        return set()
    closed = (_shut_down(descriptor, wanted) for descriptor in descriptors)
    return {wanted[address] for address in closed if address}


def _address_of(peer: str) -> _Address | None:
    match = _PEER.fullmatch(unquote(peer))
    return (match["host"].removeprefix(_MAPPED), int(match["port"])) if match else None


def _shut_down(descriptor: int, wanted: Collection[_Address]) -> _Address | None:
    """Shuts down a socket that is connected to one of `wanted`; returns which, or None."""
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            return None
        connection = socket.socket(fileno=descriptor)  # not a copy: no descriptor may be free
    except OSError:  # closed meanwhile
        return None
    try:
        if connection.family not in (socket.AF_INET, socket.AF_INET6):
            return None
        host, port, *_ = connection.getpeername()
        address = (host.removeprefix(_MAPPED), port)
        if address not in wanted:
            return None
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:  # not connected, or no longer
        return None
    finally:
        connection.detach()
    return address
