"""TCP sockets on every address of HOST:PORT: to listen on, or to hold the port for several processes.

Both cover the addresses that gRPC listens on. Plain sockets, because a supervisor must not import gRPC.
"""

import contextlib
import errno
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from unrolled_server.exit_codes import AddressError
from unrolled_server.settings.address_forms import split_host_port

# A machine without the address, or without all of IPv6.
_ABSENT = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


class _Place(NamedTuple):
    """One of a host's addresses, without its port."""

    family: int
    host: str


_ANYWHERE_6 = _Place(socket.AF_INET6, "::")
_ANYWHERE_4 = _Place(socket.AF_INET, "0.0.0.0")  # noqa: S104 - only when asked for


@contextlib.contextmanager
def shared_port(address: str) -> Iterator[str]:
    """Holds HOST:PORT, without listening, for processes of ours that bind it with SO_REUSEPORT.

    Gives the address as a client takes it, with the port that was found for port 0. While it is held,
    processes that do not ask to share it are refused, and so are processes of other users.

    Raises:
        AddressError: The address is taken, malformed or not of this machine.
    """
    with contextlib.ExitStack() as held:
        holders = _taken(address, _held, flag="--address")
        for holder in holders:
            held.enter_context(holder)
        yield with_port_of(holders[0], address)


def listeners(address: str, *, flag: str) -> Sequence[socket.socket]:
    """Returns sockets that listen on every address of HOST; `[::]` covers IPv4, with or without IPv6.

    Args:
        address: HOST:PORT; port 0 takes a free one.
        flag: What an error proposes to change.

    Raises:
        AddressError: The address is taken, malformed or not of this machine.
    """
    return _taken(address, _listening, flag=flag)


def with_port_of(bound: socket.socket, address: str) -> str:
    """Returns HOST:PORT with the port that was found for port 0."""
    return f"{address.rpartition(':')[0]}:{_port_of(bound)}"


def _taken(
    address: str, take: Callable[[_Place, int], socket.socket], *, flag: str
) -> Sequence[socket.socket]:
    """Returns a socket for each of the host's addresses that this machine has, all with one port."""
    taken: list[socket.socket] = []
    try:
        host, port = split_host_port(address)
        _take_all(_places(host), port, take, taken)
    except (OSError, OverflowError, UnicodeError) as error:
        for each in taken:
            each.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise AddressError(f"cannot listen on {address}: {reason}; choose another {flag}") from None
    return taken


def _places(host: str) -> Sequence[_Place]:
    infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    # Each once: /etc/hosts may list an address twice.
    places = list(dict.fromkeys(_Place(family, str(sockaddr[0])) for family, _, _, _, sockaddr in infos))
    return [*places, _ANYWHERE_4] if _ANYWHERE_6 in places else places


def _take_all(
    places: Sequence[_Place],
    port: int,
    take: Callable[[_Place, int], socket.socket],
    taken: list[socket.socket],
) -> None:
    for place in places:
        if taken and place == _ANYWHERE_4:
            continue  # `::` has it already; as gRPC, this takes it only on a machine without IPv6
        try:
            taken.append(take(place, _port_of(taken[0]) if taken else port))
        except OSError as error:
            if error.errno not in _ABSENT or (not taken and place is places[-1]):
                raise


def _listening(place: _Place, port: int) -> socket.socket:
    with contextlib.ExitStack() as opened:
        listener = opened.enter_context(_socket(place))
        listener.bind((place.host, port))
        listener.listen()
        opened.pop_all()
    return listener


def _held(place: _Place, port: int) -> socket.socket:
    """Returns a socket that holds the port, or a free one for port 0, if no other server has it."""
    with _listening(place, port) as probe:  # the system refuses some ports that are taken only by `listen`
        port = _port_of(probe)
    with contextlib.ExitStack() as opened:
        holder = opened.enter_context(_socket(place))
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind((place.host, port))
        # It was for the connections of a server before. From here on it would let others listen on the port.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        opened.pop_all()
    return holder


def _port_of(bound: socket.socket) -> int:
    return int(bound.getsockname()[1])


def _socket(place: _Place) -> socket.socket:
    made = socket.socket(place.family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if place.family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(place != _ANYWHERE_6))
    return made
