"""What can go wrong with a request, and the one table that says what gRPC calls it.

RequestError
├── InvalidRequestError   the request is wrong; sending it again does not help
├── UnsupportedError      the request asks for what this server does not do
├── OverloadedError       too much is here already; a retry helps, after the time that it tells
├── TooLargeError         its message is larger than the server takes; sending it again does not help
├── ExpiredError          its deadline passed before it was computed; nobody is there to be told
├── DrainingError         the server ends; a retry helps, at another server or later
└── ComputeError          our fault; the log has the traceback, the wire has none of it
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import grpc
from google.rpc import error_details_pb2, status_pb2

DETAILS_KEY = "grpc-status-details-bin"
"""The trailing metadata key under which gRPC carries a google.rpc.Status."""
PUSHBACK_KEY = "grpc-retry-pushback-ms"
"""The trailing metadata key that tells gRPC's retries how long to wait."""
# A unary call's refusal is metadata, of which gRPC clients take 8 KiB. Messages quote what was sent,
# and go twice: once with three bytes for one that is not ASCII, once in base64.
MAX_MESSAGE_BYTES = 1_024
MAX_DESCRIPTION_BYTES = 384
_MAX_BYTES_A_LETTER = 4
_GAP = " ... "
NO_RETRY = "-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One broken rule: the field's path, and what is wrong, the value, the limit and the remedy."""

    field: str
    description: str


class RequestError(Exception):
    """A request that gets no answer; the message is for the caller, who gets it within bounds."""

    def __init__(self, message: str) -> None:
        super().__init__(_shortened(message, MAX_MESSAGE_BYTES))


class InvalidRequestError(RequestError):
    """The request breaks the contract in the fields that `violations` names."""

    def __init__(self, violations: Sequence[Violation]) -> None:
        self.violations = tuple(
            replace(violation, description=_shortened(violation.description, MAX_DESCRIPTION_BYTES))
            for violation in violations
        )
        super().__init__("; ".join(violation.description for violation in self.violations))


class UnsupportedError(RequestError):
    """The request asks for something that the contract knows and this server does not do."""


class OverloadedError(RequestError):
    """The server has as much as it can take; `retry_after_s` from now it may have room.

    Unless that `is_in_time` for the request's deadline, gRPC's own retries are told not to wait for it.
    """

    def __init__(self, message: str, *, retry_after_s: float, is_in_time: bool = True) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.is_in_time = is_in_time


class TooLargeError(RequestError):
    """The message has more bytes than the server takes; on a port of our own gRPC says so itself."""


class ExpiredError(RequestError):
    """The request's deadline passed while it waited, so it was not computed."""


class DrainingError(RequestError):
    """The server stops, and takes nothing new."""


class ComputeError(RequestError):
    """The computation failed for a reason that is not in the request."""


STATUS_CODES: dict[type[RequestError], grpc.StatusCode] = {
    InvalidRequestError: grpc.StatusCode.INVALID_ARGUMENT,
    UnsupportedError: grpc.StatusCode.UNIMPLEMENTED,
    OverloadedError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    TooLargeError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ExpiredError: grpc.StatusCode.DEADLINE_EXCEEDED,
    DrainingError: grpc.StatusCode.UNAVAILABLE,
    ComputeError: grpc.StatusCode.INTERNAL,
}


def status_code(error: RequestError) -> grpc.StatusCode:
    """The gRPC code for `error`."""
    return STATUS_CODES[type(error)]


def status(error: RequestError) -> status_pb2.Status:
    """`error` as a google.rpc.Status: code, message, and details for a program.

    Details are BadRequest for the fields at fault, and RetryInfo where the time to come back is known.
    """
    code: int = status_code(error).value[0]
    answer = status_pb2.Status(code=code, message=str(error))
    if isinstance(error, InvalidRequestError):
        fields = [
            error_details_pb2.BadRequest.FieldViolation(field=v.field, description=v.description)
            for v in error.violations
        ]
        answer.details.add().Pack(error_details_pb2.BadRequest(field_violations=fields))
    if isinstance(error, OverloadedError):
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(_retry_after_ms(error))
        answer.details.add().Pack(retry)
    return answer


def trailing_metadata(error: RequestError) -> tuple[tuple[str, str | bytes], ...]:
    """What a unary call ends with beside code and message: details, and pushback for gRPC's retries."""
    details = ((DETAILS_KEY, status(error).SerializeToString()),)
    if isinstance(error, OverloadedError):
        pushback = str(_retry_after_ms(error)) if error.is_in_time else NO_RETRY
        return (*details, (PUSHBACK_KEY, pushback))
    if isinstance(error, TooLargeError):
        return (*details, (PUSHBACK_KEY, NO_RETRY))
    return details


def _shortened(text: str, max_bytes: int) -> str:
    """A text of up to so many bytes; a longer one loses its middle: values come first, remedies last."""
    if (
        len(text) * _MAX_BYTES_A_LETTER <= max_bytes
        or len(encoded := text.encode(errors="replace")) <= max_bytes
    ):
        return text
    head = 2 * max_bytes // 3
    tail = max_bytes - head - len(_GAP)
    return encoded[:head].decode(errors="ignore") + _GAP + encoded[-tail:].decode(errors="ignore")


def _retry_after_ms(error: OverloadedError) -> int:
    return math.ceil(error.retry_after_s * 1e3)
