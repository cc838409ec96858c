"""A TCP port that several processes of ours share and nobody else has, by plain sockets.

A file of its own because a supervisor takes the port and must not import gRPC.
"""

import contextlib
import errno
import socket
from collections.abc import Iterator, Sequence
from typing import NamedTuple

UNIX = "unix:"
"""What the address of a Unix socket begins with; its path follows."""
# A machine without the address, or without all of IPv6.
_ABSENT = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


class AddressError(Exception):
    """The address cannot be listened on; the message says why and what to do."""


class _Place(NamedTuple):
    """One of a host's addresses, without its port."""

    family: int
    host: str


_ANYWHERE_6 = _Place(socket.AF_INET6, "::")
_ANYWHERE_4 = _Place(socket.AF_INET, "0.0.0.0")  # noqa: S104 - only when asked for


@contextlib.contextmanager
def shared_port(address: str) -> Iterator[str]:
    """Holds HOST:PORT, without listening, for processes of ours that bind it with SO_REUSEPORT.

    Gives the address as a client takes it, with the port that was found for port 0. While it is held, who
    does not ask to share it is refused, and so are processes of other users.

    Raises:
        AddressError: The address is taken, malformed or not of this machine.
    """
    host, _, port = address.rpartition(":")
    with contextlib.ExitStack() as held:
        try:
            found = _hold(_places(host.strip("[]")), int(port), held)
        except (OSError, OverflowError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise AddressError(f"cannot listen on {address}: {reason}; choose another --address") from None
        yield f"{host}:{found}"


def _places(host: str) -> Sequence[_Place]:
    infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    places = [_Place(family, str(sockaddr[0])) for family, _, _, _, sockaddr in infos]
    return [*places, _ANYWHERE_4] if _ANYWHERE_6 in places else places


def _hold(places: Sequence[_Place], port: int, held: contextlib.ExitStack) -> int:
    """Holds the port at every place that this machine has, which is what gRPC listens on; gives the port."""
    found = None
    for place in places:
        if found is not None and place == _ANYWHERE_4:
            continue  # `::` has it already; as gRPC, this takes it only on a machine without IPv6
        try:
            found = _free_port(place, found or port)
        except OSError as error:
            if error.errno not in _ABSENT or (found is None and place is places[-1]):
                raise
        else:
            held.enter_context(_holder(place, found))
    return port if found is None else found


def _free_port(place: _Place, port: int) -> int:
    """The port, or a free one for port 0, if nobody else has it."""
    with _socket(place) as probe:
        probe.bind((place.host, port))
        probe.listen()  # the system refuses some ports that are taken only now
        return int(probe.getsockname()[1])


def _holder(place: _Place, port: int) -> socket.socket:
    holder = _socket(place)
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    holder.bind((place.host, port))
    # It was for the connections of a server before. From here on it would let others listen on the port.
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    return holder


def _socket(place: _Place) -> socket.socket:
    made = socket.socket(place.family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if place.family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(place != _ANYWHERE_6))
    return made
