"""What can go wrong in a call, and the one table from gRPC's status codes to exceptions.

UnrolledError
├── InvalidRequestError (ValueError)      the request is wrong; `violations` names the fields
├── UnsupportedError                      the server does not do this; also: it is no Unrolled server
├── AuthenticationError                   the server does not accept who asks
├── OverloadedError                       too much work, or too large a message
├── UnavailableError (ConnectionError)    the server cannot be reached, or is about to leave
├── DeadlineError (TimeoutError)          no answer within timeout_s
├── CallCancelledError                    somebody on the way cancelled the call
├── ServerError                           the server failed
├── ProtocolError                         the reply does not fit together
├── ClosedError                           the client was closed
└── LocalServerError                      Client.local() could not start its server
    └── ServerExtraMissingError           ... because what it needs is not installed

A call changes nothing on the server, so repeating one is always safe; `is_retryable` says whether it helps.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar, cast

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError, Message

_Detail = TypeVar("_Detail", bound=Message)

_DETAILS_KEY = "grpc-status-details-bin"
# A delay may say years, or less than nothing; waiting for that would never end, or fail.
_MAX_RETRY_AFTER_S = 3_600.0
_RETRYABLE_CODES = frozenset(
    {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.ABORTED}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldViolation:
    """One broken rule of a request.

    Attributes:
        field: The field's path in the contract, such as "words[3]" or "network.proj_size"; of what the SDK
            refuses by itself, the argument's name. `description` uses the argument's name always.
        description: What is wrong: the value, the limit and what to do.
    """

    field: str
    description: str


class UnrolledError(Exception):
    """The base of all that this package raises on purpose, except TypeError.

    Attributes:
        message: What went wrong, for a person.
        code: gRPC's status code; None if no server was asked.
        violations: The fields at fault, if the request was.
        retry_after_s: When the server wants to be asked again, in seconds; None if it did not say.
    """

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode | None = None,
        violations: tuple[FieldViolation, ...] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.violations = violations
        self.retry_after_s = retry_after_s

    @property
    def is_retryable(self) -> bool:
        """Whether the same call may succeed when it is made again."""
        return self.code in _RETRYABLE_CODES or self.retry_after_s is not None


class InvalidRequestError(UnrolledError, ValueError):
    """The request breaks the contract or a limit of this server. A retry does not help."""


class UnsupportedError(UnrolledError):
    """The server does not do what was asked, or does not speak this contract. A retry does not help."""


class AuthenticationError(UnrolledError):
    """The server does not accept the caller. A retry does not help."""


class OverloadedError(UnrolledError):
    """The server has no room: a retry helps if it said when (`retry_after_s`).

    Without that time it is gRPC's own refusal of a message beyond the server's `limits.max_request_bytes`.
    """


class UnavailableError(UnrolledError, ConnectionError):
    """The server cannot be reached, nor could it by the client's own retries. A later retry helps."""


class DeadlineError(UnrolledError, TimeoutError):
    """No answer came within `timeout_s`. A retry helps if the server was busy or the time is raised."""


class CallCancelledError(UnrolledError):
    """The call was cancelled by the server or a proxy. A retry does not help while they mean it."""


class ServerError(UnrolledError):
    """The server failed on this request; its log says why. A retry hardly helps."""


class ProtocolError(UnrolledError):
    """The reply does not fit together or does not answer the request. A retry does not help."""


class ClosedError(UnrolledError):
    """The client is closed. A retry does not help; make another client."""


class LocalServerError(UnrolledError):
    """The server of `Client.local()` did not start; the message ends with what it wrote."""


class ServerExtraMissingError(LocalServerError):
    """The packages that a server needs are not installed."""


ERRORS_BY_CODE: dict[grpc.StatusCode, type[UnrolledError]] = {
    grpc.StatusCode.CANCELLED: CallCancelledError,
    grpc.StatusCode.UNKNOWN: ServerError,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequestError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineError,
    grpc.StatusCode.NOT_FOUND: ServerError,
    grpc.StatusCode.ALREADY_EXISTS: ServerError,
    grpc.StatusCode.PERMISSION_DENIED: AuthenticationError,
    grpc.StatusCode.UNAUTHENTICATED: AuthenticationError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: OverloadedError,
    grpc.StatusCode.FAILED_PRECONDITION: ServerError,
    grpc.StatusCode.ABORTED: ServerError,
    grpc.StatusCode.OUT_OF_RANGE: InvalidRequestError,
    grpc.StatusCode.UNIMPLEMENTED: UnsupportedError,
    grpc.StatusCode.INTERNAL: ServerError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.DATA_LOSS: ServerError,
}
"""Every code but OK."""

# Where gRPC itself may be the speaker, its words alone do not say who was asked.
_MESSAGES = {
    grpc.StatusCode.UNAVAILABLE: "{target} is unavailable: {message}",
    grpc.StatusCode.DEADLINE_EXCEEDED: "{target} gave no answer in time ({message}); raise timeout_s",
}

_DROPPED_BY_SERVER = (grpc.StatusCode.CANCELLED, "CANCELLED")
_CODES_OF_RESETS = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN}
_RESET_BY_PROXY = re.compile(r"RST_STREAM with error code 2\b")  # HTTP/2's INTERNAL_ERROR

# How gRPC begins where a connection was never made; which words follow, and what to do.
_NO_CONNECTION = ("failed to connect", "errors resolving")
# gRPC's words where calls are spread and no replica answers, also after earlier connections.
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


def error_from_call(error: grpc.RpcError, *, target: str, proxy: str | None = None) -> UnrolledError:
    """Returns the exception for a failed call of grpc's or grpc.aio's channel.

    Args:
        error: What gRPC raised.
        target: The server that was called.
        proxy: The environment's proxy that gRPC connects to instead, and the variable that names it.
    """
    call = cast("grpc.Call", error)
    code, message = call.code(), call.details() or ""
    if was_dropped(call):
        code, message = grpc.StatusCode.UNAVAILABLE, f"the call was dropped on the way ({message})"
    message = _MESSAGES.get(code, "{message}").format(
        target=target, message=_with_remedy(message, proxy=proxy)
    )
    return error_from_status(code, message=message, details=_status_details(call))


def was_dropped(call: grpc.Call) -> bool:
    """Whether a call was ended below its service, so that another server may answer it.

    A server that stops does that to calls that it has not handed to its service, and a proxy whose server is
    gone to those that it has begun to answer; these are gRPC's words for it.
    """
    return (call.code(), call.details()) == _DROPPED_BY_SERVER or (
        call.code() in _CODES_OF_RESETS and bool(_RESET_BY_PROXY.search(call.details() or ""))
    )


def error_from_status(code: grpc.StatusCode, *, message: str, details: Iterable[Any]) -> UnrolledError:
    """The exception for a status in its parts, as a call's trailer or a stream's reply carries them."""
    violations: list[FieldViolation] = []
    retry_after_s = None
    for detail in details:
        # Loaded here, because most processes never see one.
        from google.rpc.error_details_pb2 import BadRequest, RetryInfo  # noqa: PLC0415

        if request := _unpack(detail, BadRequest):
            violations += [
                FieldViolation(field=v.field, description=v.description) for v in request.field_violations
            ]
        elif retry := _unpack(detail, RetryInfo):
            told_s = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
            retry_after_s = min(max(told_s, 0.0), _MAX_RETRY_AFTER_S)
    return ERRORS_BY_CODE.get(code, ServerError)(
        message or f"the call failed with {code.name}",
        code=code,
        violations=tuple(violations),
        retry_after_s=retry_after_s,
    )


def was_never_connected(message: str) -> bool:
    """Returns whether these are gRPC's words for a connection that was never made."""
    return message.startswith(_NO_CONNECTION)


def _with_remedy(message: str, *, proxy: str | None) -> str:
    """Returns gRPC's message, behind what to do if no connection was made for a known reason."""
    if not message.startswith((*_NO_CONNECTION, *_NO_REPLICA)):
        return message
    if proxy is not None:
        return (
            f"gRPC asked the proxy {proxy}; if the server can be reached without it, name its host in "
            f"no_proxy ({message})"
        )
    return next((f"{remedy} ({message})" for words, remedy in _REMEDIES.items() if words in message), message)


def _status_details(call: grpc.Call) -> Iterable[Any]:
    """What the call's trailer carries beside its code and message."""
    packed = dict(call.trailing_metadata() or ()).get(_DETAILS_KEY)
    if packed is None:
        return ()
    from google.rpc.status_pb2 import Status  # noqa: PLC0415 - as above

    try:
        return cast("Iterable[Any]", Status.FromString(packed).details)
    except DecodeError:  # the code and the message stand without them
        return ()


def _unpack(detail: Any, kind: type[_Detail]) -> _Detail | None:
    """The message in `detail`; None if it is of another kind or damaged."""
    try:
        return kind.FromString(detail.value) if detail.TypeName() == kind.DESCRIPTOR.full_name else None
    except DecodeError:
        return None
