"""Targets: chooses, checks and converts the addresses that users write."""

import ipaddress
import os
import re
import sys
from enum import Enum
from pathlib import Path
from typing import Final, Literal, TypeAlias
from urllib.parse import quote, unquote, urlsplit

from unrolled_client._messages.arguments import wrong_type
from unrolled_client.errors import InvalidRequestError

DEFAULT_PORT = 50051
DEFAULT_TARGET = f"localhost:{DEFAULT_PORT}"
TARGET_VARIABLE = "UNROLLED_TARGET"

_MAX_PORT = 65_535
# The size of sun_path, without the NUL at its end.
_MAX_SOCKET_PATH_BYTES = 103 if sys.platform == "darwin" else 107
_FORMS = (
    f"HOST:PORT such as {DEFAULT_TARGET!r}, unix:PATH, dns:///HOST:PORT or ipv4:ADDRESS:PORT,ADDRESS:PORT"
)
_SCHEME = re.compile(r"(dns|ipv[46]|unix|unix-abstract|xds|vsock|google-c2p):(.*)", re.DOTALL | re.IGNORECASE)
_TLS_URLS = ("https://", "grpcs://")
_HOST_PORT = re.compile(r"(?P<host>[\w.-]+|\[[^\]]*\])(:(?P<port>.*))?", re.ASCII)


class _NotGiven(Enum):
    """The default of `target` in the constructors' signatures."""

    NOT_GIVEN = f"{TARGET_VARIABLE}, else {DEFAULT_TARGET}"


NOT_GIVEN: Final = _NotGiven.NOT_GIVEN
Target: TypeAlias = str | Literal[_NotGiven.NOT_GIVEN]


def resolve_target(given: str | None, *, name: str = "target") -> str:
    """Returns the given target, else that of `UNROLLED_TARGET`, else localhost:50051.

    A malformed one raises InvalidRequestError with the right form; `name` is what the caller calls it.
    """
    if given is None:
        given, name = os.environ.get(TARGET_VARIABLE) or DEFAULT_TARGET, TARGET_VARIABLE
    check_target(given, name=name)
    return given


def check_target(target: str, *, name: str) -> None:
    """Raises what `resolve_target` raises if the target is malformed."""
    if not isinstance(target, str):
        raise wrong_type(name, target, f"leave it out for {NOT_GIVEN.value}, or pass a str: {_FORMS}")
    fault = _fault(target)
    if fault is None:
        return
    right_form = _right_form(target)
    remedy = f"write {right_form!r}" if right_form else f"it must be {_FORMS}"
    if target.strip().lower().startswith(_TLS_URLS):
        remedy += " and give root_certificates for TLS"
    raise InvalidRequestError(f"{name} is {target!r}, {fault}; {remedy}")


def grpc_target(target: str) -> str:
    """Returns a well-formed target in gRPC's notation, in which socket paths are percent-encoded."""
    scheme, rest = _split(target)
    if not scheme.startswith("unix"):
        return target
    path = _socket_path(rest) if scheme == "unix" else rest
    return f"{scheme}:{quote(os.fsencode(path))}"


def is_on_this_machine(target: str) -> bool:
    """Returns whether all addresses of a well-formed target are loopback addresses or Unix sockets."""
    scheme, rest = _split(target)
    if scheme.startswith("unix"):
        return True
    is_resolved_elsewhere = scheme not in {"", "dns", "ipv4", "ipv6"} or re.match("//[^/]", rest)
    return not is_resolved_elsewhere and all(map(_is_loopback, hosts(target)))


def hosts(target: str) -> list[str]:
    """Returns the host names and IP addresses of a well-formed target, without ports and brackets."""
    addresses = _without_authority(unquote(_split(target)[1])).split(",")
    return [address.rpartition(":")[0].strip("[]") for address in addresses]


def _split(target: str) -> tuple[str, str]:
    """Returns gRPC's scheme in lower case, "" without one, and what follows it."""
    match = _SCHEME.fullmatch(target)
    return (match[1].lower(), match[2]) if match else ("", target)


def _without_authority(rest: str) -> str:
    """Returns what follows gRPC's scheme without "//AUTHORITY/", which is a DNS server or empty."""
    return re.sub("^//[^/]*/", "", rest)


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _fault(target: str) -> str | None:
    """Returns what is wrong with a target; None if it is well formed."""
    if not target:
        return "which is empty"
    if target != target.strip():
        return "with white space around it"
    scheme, rest = _split(target)
    if scheme.startswith("unix"):
        return _socket_fault(rest) or (_path_fault(rest) if scheme == "unix" else None)
    if scheme in {"ipv4", "ipv6"}:
        addresses = unquote(rest).removeprefix("///").split(",")
        return next(filter(None, (_address_fault(address, scheme) for address in addresses)), None)
    if scheme in {"", "dns"}:
        return "a URL" if "://" in rest else _host_fault(_without_authority(rest))
    return None if rest else "which names no server"


def _host_fault(host_port: str) -> str | None:
    match = _HOST_PORT.fullmatch(host_port)
    if match is None:
        is_bare_port = host_port.startswith(":") and host_port.count(":") == 1
        return "without a host" if is_bare_port else "which is not HOST:PORT"
    host, port = match["host"], match["port"]
    if host.startswith("[") and not _is_ip(host, "ipv6"):
        return "whose host is not an IPv6 address"
    if not port:
        return "without a port"
    is_port = port.isascii() and port.isdecimal() and 1 <= int(port) <= _MAX_PORT
    return None if is_port else f"whose port is not a number from 1 to {_MAX_PORT}"


def _address_fault(address: str, scheme: str) -> str | None:
    match = _HOST_PORT.fullmatch(address)
    if match is None or not _is_ip(match["host"], scheme):
        return f"where {address!r} is not ADDRESS:PORT of {scheme}"
    return _host_fault(address)


def _is_ip(host: str, scheme: str) -> bool:
    try:
        version = ipaddress.ip_address(host.strip("[]")).version
    except ValueError:
        return False
    return f"ipv{version}" == scheme and host.startswith("[") == (scheme == "ipv6")


def _socket_fault(rest: str) -> str | None:
    if not rest:
        return "without a path"
    if rest[0].isspace():
        return "whose path begins with white space"
    # gRPC splits the path at commas, even at encoded ones.
    return "whose path has a comma or NUL, which gRPC cannot connect to" if re.search("[,\0]", rest) else None


def _path_fault(rest: str) -> str | None:
    if rest.startswith("//") and not rest.startswith("///"):
        return "which lacks a third slash"
    path = _socket_path(rest)
    if path.startswith("~"):
        return "whose home directory is unknown"
    if (size := len(os.fsencode(path))) > _MAX_SOCKET_PATH_BYTES:
        return f"whose path has {size} bytes; a socket's has at most {_MAX_SOCKET_PATH_BYTES}"
    return None


def _socket_path(rest: str) -> str:
    """Returns the path of a Unix socket: what follows "unix:", with "~" expanded."""
    path = re.sub("^//+", "/", rest)  # gRPC reads "//" as the beginning of a host
    if not path.startswith("~"):
        return path
    try:
        return str(Path(path).expanduser())
    except RuntimeError:  # there is no such home
        return path


def _right_form(target: str) -> str | None:
    """Returns the well-formed target that is probably meant; None if that is unclear."""
    bare = target.strip()
    scheme, rest = _split(bare)
    if "://" in bare and not scheme:
        forms = _forms_of_url(bare)
    elif bare.startswith(("/", "./", "../", "~")):
        forms = [f"unix:{bare}"]
    else:
        forms = [f"{scheme}:/{rest}"] if rest.startswith("//") else []  # for "//" where gRPC wants "///"
        forms += _host_forms(bare.rstrip("/")) if scheme in {"", "dns", "ipv4", "ipv6"} else []
    return next((form for form in (bare, *forms) if _fault(form) is None), None)


def _forms_of_url(url: str) -> list[str]:
    try:
        return _host_forms(urlsplit(url).netloc.rpartition("@")[2])
    except ValueError:  # brackets that do not match
        return []


def _host_forms(text: str) -> list[str]:
    head, _, tail = text.rpartition(":")
    forms = [text, f"[{head}]:{tail}", f"[{text}]:{DEFAULT_PORT}", f"{text.rstrip(':')}:{DEFAULT_PORT}"]
    return [*forms, f"ipv4:{text}", f"ipv6:{text}"] if head else [*forms, f"localhost:{tail}"]
