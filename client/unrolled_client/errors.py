"""The exceptions and the warning of this package, and the one table from gRPC's status codes to them.

UnrolledError
├── InvalidRequestError (ValueError)      the request is wrong; `violations` names the fields
├── UnsupportedError                      the server cannot do this, or is not an Unrolled server
├── AuthenticationError                   the server does not accept the caller
├── OverloadedError                       the server has no room, or the message is too large
├── UnavailableError (ConnectionError)    the server cannot be reached or is shutting down
├── DeadlineError (TimeoutError)          no answer within timeout_s
├── CallCancelledError                    the server or a proxy cancelled the call
├── ServerError                           the server failed
├── ProtocolError                         the reply is inconsistent
├── ClosedError                           the client was closed
└── LocalError                            Client.local() cannot compute in this process
    └── LocalExtraMissingError            ... because its packages are not installed

A call changes nothing on the server, so repeating one is always safe; `is_retryable` says whether it helps.

UserWarning
└── DerivedAlphabetWarning                two calls ran different networks
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError, Message
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from unrolled.v1.forward_pb2 import RequestError

_Detail = TypeVar("_Detail", bound=Message)

# A server may send a delay of years, or a negative one.
_MAX_RETRY_AFTER_S = 3_600.0
_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}
_RETRYABLE_CODES = frozenset(
    {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.ABORTED}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldViolation:
    """One broken rule; `field` is a path in the contract ("words[3]", "network.proj_size") or an argument."""

    field: str
    description: str


class UnrolledError(Exception):
    """Base of all exceptions of this package; wrong types raise TypeError.

    Attributes:
        code: gRPC's status code; None if no server was asked.
        violations: The broken rules, if the request is at fault.
        retry_after_s: Seconds after which the server wants the retry; None if it did not say.
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
        """Whether the same call may succeed later."""
        return self.code in _RETRYABLE_CODES or self.retry_after_s is not None


class InvalidRequestError(UnrolledError, ValueError):
    """The request breaks the contract or a limit of this server. A retry does not help."""


class UnsupportedError(UnrolledError):
    """The server cannot do this, or does not speak this contract. A retry does not help."""


class AuthenticationError(UnrolledError):
    """The server does not accept the caller. A retry does not help."""


class OverloadedError(UnrolledError):
    """The server has no room. A retry helps after `retry_after_s`.

    If that is None, gRPC refused a message larger than the server's `limits.max_request_bytes`.
    """


class UnavailableError(UnrolledError, ConnectionError):
    """The server cannot be reached; the client's own retries failed, too. A later retry may help."""


class DeadlineError(UnrolledError, TimeoutError):
    """No answer came within `timeout_s`. A retry helps if the server was busy, or with a longer timeout."""


class CallCancelledError(UnrolledError):
    """The server or a proxy cancelled the call. A retry rarely helps."""


class ServerError(UnrolledError):
    """The server failed on this request; its log says why. A retry rarely helps."""


class ProtocolError(UnrolledError):
    """The reply is inconsistent or does not answer the request. A retry does not help."""


class ClosedError(UnrolledError):
    """The client is closed. A retry does not help; make another client."""


class LocalError(UnrolledError):
    """`Client.local()` has no native core that works, no such device, or cannot load word vectors."""


class LocalExtraMissingError(LocalError):
    """The packages that `Client.local()` needs are not installed."""


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


def error_from_status(code: grpc.StatusCode, *, message: str, details: Iterable[Any]) -> UnrolledError:
    """Returns the exception for a status, which a call's trailer or a stream's reply carries."""
    violations: list[FieldViolation] = []
    retry_after_s = None
    for detail in details:
        if request := _unpack(detail, BadRequest):
            found = request.field_violations
            violations += [FieldViolation(field=v.field, description=v.description) for v in found]
        elif retry := _unpack(detail, RetryInfo):
            delay_s = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
            retry_after_s = min(max(delay_s, 0.0), _MAX_RETRY_AFTER_S)
    return ERRORS_BY_CODE.get(code, ServerError)(
        message or f"the call failed with {code.name}",
        code=code,
        violations=tuple(violations),
        retry_after_s=retry_after_s,
    )


def error_from_refusal(refusal: RequestError) -> UnrolledError:
    """Returns the exception for the error in a reply."""
    code = _CODES.get(refusal.code, grpc.StatusCode.UNKNOWN)
    return error_from_status(code, message=refusal.message, details=refusal.details)


def _unpack(detail: Any, kind: type[_Detail]) -> _Detail | None:
    """Returns the message in `detail`; None if it is of another kind or damaged."""
    try:
        return kind.FromString(detail.value) if detail.TypeName() == kind.DESCRIPTOR.full_name else None
    except DecodeError:
        return None


class DerivedAlphabetWarning(UserWarning):
    """Two calls of a client derived different alphabets, so that different networks answered them."""
