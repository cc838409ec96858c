"""Closing a connection that gRPC's Python gives no handle for: by its socket, found by the client's address.

A file of its own because it goes below gRPC. There, a call whose client does not read can't be ended: its
status would wait behind its message. Shut down, the socket looks to gRPC as if the client had gone.
"""

import os
import re
import socket
import stat
from urllib.parse import unquote

_PEER = re.compile(r"ipv[46]:\[?(?P<host>[^\]]+)\]?:(?P<port>\d+)")
_MAPPED = "::ffff:"


def disconnect(peer: str) -> bool:
    """Closes this process's connection from `peer`, such as "ipv4:127.0.0.1:50123"; whether there was one.

    Clients of a Unix socket have no address and stay.
    """
    match = _PEER.fullmatch(unquote(peer))
    if match is None:
        return False
    wanted = match["host"].removeprefix(_MAPPED), int(match["port"])
    return any([_shut_down(int(name), wanted) for name in os.listdir("/dev/fd")])  # noqa: PTH208, C419 - numbers; all


def _shut_down(descriptor: int, wanted: tuple[str, int]) -> bool:
    """Shuts down a socket if it is connected to `wanted`; other descriptors are left alone."""
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            return False
        with socket.socket(fileno=os.dup(descriptor)) as connection:
            if connection.family not in (socket.AF_INET, socket.AF_INET6):
                return False
            host, port, *_ = connection.getpeername()
            if (host.removeprefix(_MAPPED), port) != wanted:
                return False
            connection.shutdown(socket.SHUT_RDWR)
    except OSError:  # gone meanwhile, or not connected
        return False
    return True
