"""Parses addresses to listen on, HOST:PORT or unix:PATH; each error names the right form."""

import ipaddress
import os
import re
import sys

from unrolled_server.paths import expand_home

UNIX = "unix:"
"""Prefix of a Unix socket's address; the path follows."""
MAX_PORT = 65_535
# The size of sockaddr_un's path, without the zero byte at its end.
MAX_SOCKET_PATH_BYTES = 103 if sys.platform == "darwin" else 107
_SOCKET = re.compile(r"unix(-abstract)?:", re.IGNORECASE)  # as clients of gRPC read it
_PATHS = ("/", "./", "../", "~")
_NOT_IN_A_HOST = re.compile(r"[\s:/,@?#%\[\]\ud800-\udfff]")  # surrogates: bytes that are not UTF-8


def parse_address(given: str, *, default_port: int) -> str:
    """Returns HOST:PORT without blanks around it, or unix:PATH with a leading `~` as the home directory.

    Raises:
        ValueError: It has another form; the message shows the right one, on `default_port` if it has none.
    """
    address = given.lstrip()
    if _SOCKET.match(address):
        return _parse_socket(address)
    if address.startswith(_PATHS):
        raise ValueError(f"this is a path; write 'unix:{address}' for a Unix socket")
    return parse_host_port(given, default_port=default_port)


def parse_host_port(given: str, *, default_port: int) -> str:
    """Returns HOST:PORT without blanks around it; see `parse_address`."""
    address = given.strip()
    if _SOCKET.match(address) or address.startswith(_PATHS):
        raise ValueError(f"this is not HOST:PORT; write one, such as '127.0.0.1:{default_port}'")
    if "://" in address:
        raise ValueError(f"this is a URL; write {_host_port_of_url(address, default_port)!r}")
    host, colon, port = address.rpartition(":")
    if re.fullmatch(r"[0-9]+", address) or address == "*":
        host, port = "", address.replace("*", str(default_port))
    if host in ("", "*") and re.fullmatch(r"[0-9]+", port):
        raise ValueError(
            f"it has no host; write '[::]:{port}' for every interface or '127.0.0.1:{port}' for this machine"
        )
    _refuse_ipv6_without_brackets(address, default_port)
    if not colon or not port or address.endswith("]"):
        name = address.removesuffix(":")
        _check_host(name, default_port)
        raise ValueError(f"it has no port; write '{name or '127.0.0.1'}:{default_port}'")
    _check_host(host, default_port)
    if not re.fullmatch(r"[0-9]+", port) or int(port) > MAX_PORT:
        raise ValueError(f"port {port!r} is not a number from 0 to {MAX_PORT}")
    return address


def split_host_port(address: str) -> tuple[str, int]:
    """Returns the host, without an IPv6 address's brackets, and the port of a checked HOST:PORT."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _parse_socket(address: str) -> str:
    scheme, _, path = address.partition(":")
    if f"{scheme.lower()}:" != UNIX:
        raise ValueError("abstract sockets have no permissions, so anyone may connect; write 'unix:PATH'")
    if re.match("//[^/]", path):
        raise ValueError(f"write 'unix:/{path[2:]}', or 'unix:{path[2:]}' in the working directory")
    path = re.sub("^//+", "/", path)  # gRPC reads "//" as the start of a host
    if not path or path != path.strip():
        raise ValueError(
            f"the path is {path!r}; write one without blanks around it, such as 'unix:/run/unrolled.sock'"
        )
    if re.search("[,\0]", path):
        raise ValueError("the path has a comma or a zero byte, which no gRPC client can connect to")
    path = str(expand_home(path))
    size = len(os.fsencode(path))
    if size > MAX_SOCKET_PATH_BYTES:
        raise ValueError(
            f"the path has {size} bytes, and the system allows a Unix socket {MAX_SOCKET_PATH_BYTES}; "
            "take a shorter one"
        )
    return f"{UNIX}{path}"


def _host_port_of_url(url: str, default_port: int) -> str:
    place = url.partition("://")[2].lstrip("/").partition("/")[0].rpartition("@")[2]
    host, _, port = place.rpartition(":") if re.search(r":[0-9]+$", place) else (place, "", default_port)
    return f"{host.strip('*') or '[::]'}:{port}"


def _refuse_ipv6_without_brackets(address: str, default_port: int) -> None:
    host, _, port = address.rpartition(":")
    if _is_ipv6(host) and re.fullmatch(r"[0-9]+", port):
        right = f"[{host}]:{port}"
    elif _is_ipv6(address):
        right = f"[{address}]:{default_port}"
    else:
        return
    raise ValueError(f"an IPv6 address goes in brackets; write {right!r}")


def _check_host(host: str, default_port: int) -> None:
    if host.startswith("["):
        if not (host.endswith("]") and _is_ipv6(host[1:-1])):
            raise ValueError(
                f"{host!r} is not an IPv6 address in brackets; write one with its port, such as "
                f"'[::1]:{default_port}'"
            )
        return
    wrong = _NOT_IN_A_HOST.search(host)
    if wrong:
        raise ValueError(f"the host {host!r} has {wrong[0]!r} in it; write one HOST:PORT")


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True
