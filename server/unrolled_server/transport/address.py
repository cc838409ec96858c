"""Addresses to listen on: which ones may be in clear text, and sockets for processes without gRPC."""

import contextlib
import errno
import ipaddress
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from unrolled_server.exit_codes import AddressError
from unrolled_server.settings import Settings
from unrolled_server.settings.address_forms import UNIX, split_host_port

# This machine lacks the address, or IPv6 altogether.
_ABSENT = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


class _Interface(NamedTuple):
    """One IP address of a host name."""

    family: int
    ip: str


_ANY_IPV6 = _Interface(socket.AF_INET6, "::")
_ANY_IPV4 = _Interface(socket.AF_INET, "0.0.0.0")  # noqa: S104 - only when asked for


def require_tls_or_loopback(settings: Settings) -> None:
    """Refuses an address that other machines may reach without TLS, unless `allow_plaintext` is set.

    Raises:
        AddressError: The host has an address that is not loopback, or its name cannot be resolved.
    """
    address = settings.address
    if settings.tls_certificate or settings.allow_plaintext or address.startswith(UNIX):
        return
    try:
        interfaces = _resolve(split_host_port(address)[0])
    except (OSError, UnicodeError) as error:
        raise refusal(address, error) from None
    if not all(_is_loopback(interface.ip) for interface in interfaces):
        raise AddressError(
            f"refusing to listen on {address} in clear text, where other machines may reach it: give "
            "--tls-certificate and --tls-key, listen on 127.0.0.1, or, if the network is trusted, add "
            "--allow-plaintext"
        )


def describe_protection(settings: Settings) -> str:
    """Returns which of TLS, client certificates and tokens protect calls, for the log."""
    files = {
        "TLS": settings.tls_certificate,
        "client certificates": settings.tls_client_ca,
        "tokens": settings.tokens,
    }
    return ", ".join(f"{name} {'on' if file else 'off'}" for name, file in files.items())


@contextlib.contextmanager
def reserve_port(address: str) -> Iterator[str]:
    """Reserves HOST:PORT, without listening, for processes of this user that bind it with SO_REUSEPORT.

    Yields the address for clients, with the port that was found for port 0. Meanwhile processes that do not
    ask to share the port are refused, and so are processes of other users.

    Raises:
        AddressError: The address is taken, malformed or not of this machine.
    """
    with contextlib.ExitStack() as stack:
        bound = _bind_all(address, _reserve, flag="--address")
        for each in bound:
            stack.enter_context(each)
        yield f"{address.rpartition(':')[0]}:{_port_of(bound[0])}"


def listeners(address: str, *, flag: str) -> Sequence[socket.socket]:
    """Returns sockets that listen on every address of HOST; `[::]` covers IPv4, with or without IPv6.

    Errors propose to change `flag`.

    Raises:
        AddressError: The address is taken, malformed or not of this machine.
    """
    return _bind_all(address, _listen, flag=flag)


def refusal(address: str, error: Exception | str, *, flag: str = "--address") -> AddressError:
    """Returns an AddressError with the reason and the flag to change."""
    reason = getattr(error, "strerror", None) or error
    return AddressError(f"cannot listen on {address}: {reason}; choose another {flag}")


def _bind_all(
    address: str, bind: Callable[[_Interface, int], socket.socket], *, flag: str
) -> Sequence[socket.socket]:
    """Returns a socket for each of the host's IP addresses that this machine has, all on one port."""
    bound: list[socket.socket] = []
    with contextlib.ExitStack() as stack:
        try:
            host, port = split_host_port(address)
            bound.extend(map(stack.enter_context, _bind_each(_resolve(host), port, bind)))
        except (OSError, OverflowError, UnicodeError) as error:
            raise refusal(address, error, flag=flag) from None
        stack.pop_all()
    return bound


def _bind_each(
    interfaces: Sequence[_Interface], port: int, bind: Callable[[_Interface, int], socket.socket]
) -> Iterator[socket.socket]:
    is_bound = False
    for interface in interfaces:
        if is_bound and interface == _ANY_IPV4:
            continue  # `::` covers it; like gRPC, this binds it only on a machine without IPv6
        try:
            bound = bind(interface, port)
        except OSError as error:
            if error.errno not in _ABSENT or (not is_bound and interface is interfaces[-1]):
                raise
            continue
        is_bound, port = True, _port_of(bound)
        yield bound


def _resolve(host: str) -> Sequence[_Interface]:
    infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    # Without duplicates: /etc/hosts may list an address twice.
    found = list(dict.fromkeys(_Interface(family, str(sockaddr[0])) for family, _, _, _, sockaddr in infos))
    return [*found, _ANY_IPV4] if _ANY_IPV6 in found else found


def _listen(interface: _Interface, port: int) -> socket.socket:
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(_open_socket(interface))
        listener.bind((interface.ip, port))
        listener.listen()
        stack.pop_all()
    return listener


def _reserve(interface: _Interface, port: int) -> socket.socket:
    """Returns a socket that holds the port, or a free one for port 0, if no other server has it."""
    with _listen(interface, port) as probe:  # the system refuses some taken ports only in `listen`
        port = _port_of(probe)
    with contextlib.ExitStack() as stack:
        holder = stack.enter_context(_open_socket(interface))
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind((interface.ip, port))
        # Needed only above, for connections of an earlier server; from here on it would let others listen.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        stack.pop_all()
    return holder


def _port_of(bound: socket.socket) -> int:
    return int(bound.getsockname()[1])


def _open_socket(interface: _Interface) -> socket.socket:
    opened = socket.socket(interface.family, socket.SOCK_STREAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if interface.family == socket.AF_INET6:
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(interface != _ANY_IPV6))
    return opened


def _is_loopback(host: str) -> bool:
    ip = ipaddress.ip_address(host.partition("%")[0])
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return (mapped or ip).is_loopback
