"""Finds the proxy that gRPC takes from the environment, by gRPC's rules, for error messages."""

import contextlib
import ipaddress
import os
import re
from collections.abc import Iterable
from typing import Any

from unrolled_client._transport.target import hosts

_VARIABLES = ("grpc_proxy", "https_proxy", "http_proxy")  # the first that is set counts, also if it is empty
_EXCEPTIONS = ("no_grpc_proxy", "no_proxy")
_PROXY = re.compile(
    r"http://(.*@)?(?P<address>[^/]+).*"
)  # gRPC ignores others; errors leave the password out


def proxy_in_use(target: str, options: Iterable[tuple[str, Any]]) -> str | None:
    """Returns the proxy between a client and a well-formed target, such as "proxy:3128 of http_proxy".

    Returns None if there is none. `options` are the channel's arguments.
    """
    variable = next((name for name in _VARIABLES if name in os.environ), None)
    if variable is None or not dict(options).get("grpc.enable_http_proxy", 1) or _is_excepted(target):
        return None
    match = _PROXY.fullmatch(os.environ[variable])
    return f"{match['address']} of {variable}" if match else None


def _is_excepted(target: str) -> bool:
    exceptions = next((os.environ[name] for name in _EXCEPTIONS if name in os.environ), "")
    entries = [entry.strip() for entry in exceptions.split(",") if entry.strip()]
    return any(_covers(entry, host) for entry in entries for host in hosts(target))


def _covers(entry: str, host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    return host.lower().endswith(entry.lower())
