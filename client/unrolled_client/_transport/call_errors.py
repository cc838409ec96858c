"""Turns failed gRPC calls into exceptions, and recognises lost connections by gRPC's messages."""

import contextlib
import ipaddress
import os
import re
from collections.abc import Iterable
from typing import Any, cast

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError
from google.rpc.status_pb2 import Status

from unrolled_client._transport.target import hosts
from unrolled_client.errors import UnrolledError, error_from_status

# For codes that gRPC itself may set: its message alone does not name the server.
_MESSAGES = {
    grpc.StatusCode.UNAVAILABLE: "{target} is unavailable: {message}",
    grpc.StatusCode.DEADLINE_EXCEEDED: "{target} gave no answer in time ({message}); raise timeout_s",
}
_DETAILS_KEY = "grpc-status-details-bin"

_DROPPED_BY_SERVER = (grpc.StatusCode.CANCELLED, "CANCELLED")
_CODES_OF_RESETS = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN}
_RESET_BY_PROXY = re.compile(r"RST_STREAM with error code 2\b")  # HTTP/2's INTERNAL_ERROR
_CONNECTION_LOST = re.compile("Stream removed|Socket closed|Connection reset|Broken pipe|GOAWAY")
_NO_CONNECTION = ("failed to connect", "errors resolving")
# Set by load balancing policies if no replica answers, also after earlier connections.
_NO_REPLICA = ("connections to all backends failing", "ring hash cannot find a connected endpoint")
_START_A_SERVER = (
    "no server listens there; start one with `unrolled-server` (pip install 'unrolled[server]'), or name "
    "another by the argument target or the environment variable UNROLLED_TARGET"
)
_REMEDIES = {
    "certificate has expired": "the server's certificate has expired, and its operator must renew it",
    "Hostname Verification Check failed": (
        "the server's certificate is for another name; ask the server by a name that it has"
    ),
    "CERTIFICATE_VERIFY_FAILED": (
        "root_certificates do not vouch for the server's certificate; give those of its authority"
    ),
    "WRONG_VERSION_NUMBER": "the server does not speak TLS here; leave root_certificates out",
    "Failed to create security handshaker": (
        "root_certificates, private_key and certificate_chain must be PEM, and the last two a pair"
    ),
    "Socket closed": (
        "the server hung up; if it speaks TLS, give root_certificates, and if it asks who calls, private_key "
        "and certificate_chain that it accepts"
    ),
    "Connection refused": _START_A_SERVER,
    "No such file or directory": _START_A_SERVER,  # the socket's
    "errors resolving": "the name of its host has no address",
}

_PROXY_VARIABLES = (
    "grpc_proxy",
    "https_proxy",
    "http_proxy",
)  # the first that is set counts, also if it is empty
_NO_PROXY_VARIABLES = ("no_grpc_proxy", "no_proxy")
# gRPC ignores others; errors leave the password out.
_PROXY = re.compile(r"http://(.*@)?(?P<address>[^/]+).*")


def error_from_call(error: grpc.RpcError, *, target: str, proxy: str | None = None) -> UnrolledError:
    """Returns the exception for a failed call of grpc's or grpc.aio's channel; `proxy` as `proxy_in_use`."""
    call = cast("grpc.Call", error)
    code, message = call.code(), call.details() or ""
    if _was_dropped(call):
        code, message = grpc.StatusCode.UNAVAILABLE, f"the call was dropped on the way ({message})"
    message = _with_remedy(message, proxy=proxy)
    message = _MESSAGES.get(code, "{message}").format(target=target, message=message)
    return error_from_status(code, message=message, details=_status_details(call))


def has_lost_server(error: grpc.RpcError) -> bool:
    """Returns whether a call lost its server and gRPC did not retry it, because its reply had begun."""
    call = cast("grpc.Call", error)
    if _was_dropped(call):
        return True
    details = call.details() or ""
    if details.startswith(_NO_CONNECTION):
        return False
    return call.code() is grpc.StatusCode.UNAVAILABLE and bool(_CONNECTION_LOST.search(details))


def _was_dropped(call: grpc.Call) -> bool:
    """Returns whether a stopping server or a proxy ended the call before its service, so a retry may help."""
    return (call.code(), call.details()) == _DROPPED_BY_SERVER or (
        call.code() in _CODES_OF_RESETS and bool(_RESET_BY_PROXY.search(call.details() or ""))
    )


def _with_remedy(message: str, *, proxy: str | None) -> str:
    """Returns gRPC's message, after the remedy if no connection was made for a known reason."""
    if not message.startswith((*_NO_CONNECTION, *_NO_REPLICA)):
        return message
    if proxy is not None:
        return (
            f"gRPC asked the proxy {proxy}; if the server can be reached without it, name its host in "
            f"no_proxy ({message})"
        )
    return next((f"{remedy} ({message})" for words, remedy in _REMEDIES.items() if words in message), message)


def _status_details(call: grpc.Call) -> Iterable[any_pb2.Any]:
    """Returns the details in the call's trailer, beside its code and message."""
    packed = dict(call.trailing_metadata() or ()).get(_DETAILS_KEY)
    if packed is None:
        return ()
    try:
        return cast("Iterable[any_pb2.Any]", Status.FromString(packed).details)
    except DecodeError:  # the code and the message stand without them
        return ()


def proxy_in_use(target: str, options: Iterable[tuple[str, Any]]) -> str | None:
    """Returns the proxy that gRPC takes from the environment for a target, as "proxy:3128 of http_proxy"."""
    variable = next((name for name in _PROXY_VARIABLES if name in os.environ), None)
    if variable is None or not dict(options).get("grpc.enable_http_proxy", 1) or _is_excepted(target):
        return None
    match = _PROXY.fullmatch(os.environ[variable])
    return f"{match['address']} of {variable}" if match else None


def _is_excepted(target: str) -> bool:
    exceptions = next((os.environ[name] for name in _NO_PROXY_VARIABLES if name in os.environ), "")
    entries = [entry.strip() for entry in exceptions.split(",") if entry.strip()]
    return any(_covers(entry, host) for entry in entries for host in hosts(target))


def _covers(entry: str, host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    return host.lower().endswith(entry.lower())
