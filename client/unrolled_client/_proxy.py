"""The proxy of the environment that gRPC connects to instead of a server.

gRPC reads these variables itself; this follows its rules so that errors can name the one that counted.
"""

import contextlib
import ipaddress
import os
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from unrolled_client._target import hosts, is_on_this_machine

_VARIABLES = ("grpc_proxy", "https_proxy", "http_proxy")  # the first that is set counts, also if it is empty
_EXCEPTIONS = ("no_grpc_proxy", "no_proxy")


def proxy_in_use(target: str, options: Iterable[tuple[str, Any]]) -> str | None:
    """Returns the proxy between a client and its target, such as "proxy:3128 of http_proxy"; None for none.

    Args:
        target: A well-formed target.
        options: The user's channel arguments, which may turn proxies off.
    """
    variable = next((name for name in _VARIABLES if name in os.environ), None)
    is_enabled = dict(options).get("grpc.enable_http_proxy", not is_on_this_machine(target))
    if variable is None or not is_enabled or _is_excepted(target):
        return None
    proxy = urlsplit(os.environ[variable])
    address = proxy.netloc.rpartition("@")[2]  # without its password
    return f"{address} of {variable}" if proxy.scheme == "http" else None


def _is_excepted(target: str) -> bool:
    exceptions = next((os.environ[name] for name in _EXCEPTIONS if name in os.environ), "")
    entries = [entry.strip() for entry in exceptions.split(",") if entry.strip()]
    return any(_covers(entry, host) for entry in entries for host in hosts(target))


def _covers(entry: str, host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    return host.lower().endswith(entry.lower())
