"""What can go wrong with a request, and how gRPC reports it.

RequestError
├── InvalidRequestError   the request is wrong; a retry does not help
├── UnsupportedError      this server does not do what the request asks for
├── OverloadedError       the server is busy; a retry helps after the time that the error names
├── TooLargeError         the message is larger than the limit; a retry does not help
├── ExpiredError          the deadline passed before the request was computed
├── DrainingError         the server shuts down; a retry helps at another server, or later
└── ComputeError          the server's fault; the traceback is in its log, never on the wire
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import grpc
from google.rpc import error_details_pb2, status_pb2
from unrolled.v1 import forward_pb2 as pb

DETAILS_KEY = "grpc-status-details-bin"
"""The trailing metadata key under which gRPC carries a google.rpc.Status."""
PUSHBACK_KEY = "grpc-retry-pushback-ms"
"""The trailing metadata key that makes gRPC's retries wait; negative: don't retry."""
NO_RETRY = "-1"
# A unary call's error is metadata, of which gRPC clients accept 8 KiB. Messages quote what was sent, and go
# twice: with three bytes for each non-ASCII byte, and in base64.
MAX_MESSAGE_BYTES = 1_024
MAX_DESCRIPTION_BYTES = 384
_MAX_BYTES_A_LETTER = 4
_GAP = " ... "


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule: the field's path, and what is wrong, the value, the limit and the remedy."""

    field: str
    description: str


class RequestError(Exception):
    """A request that gets no answer; the message is for the client, and shortened if it is long."""

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
    """The contract knows what the request asks for, but this server does not do it."""


class OverloadedError(RequestError):
    """The server is busy; it may have room in `retry_after_s`.

    gRPC's own retries wait for it only if it `is_in_time` for the request's deadline.
    """

    def __init__(self, message: str, *, retry_after_s: float, is_in_time: bool = True) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.is_in_time = is_in_time

    @property
    def retry_after_ms(self) -> int:
        return math.ceil(self.retry_after_s * 1e3)


class TooLargeError(RequestError):
    """The message is larger than the limit. On the server's own port, gRPC refuses it first."""


class ExpiredError(RequestError):
    """The deadline passed before the reply was computed."""


class DrainingError(RequestError):
    """The server shuts down and accepts nothing new."""


class ComputeError(RequestError):
    """The computation failed for a reason that is not in the request."""

    def __init__(self, message: str = "the server failed on this request; its log says why") -> None:
        super().__init__(message)


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
    """Returns the gRPC code for `error`."""
    return STATUS_CODES[type(error)]


def status(error: RequestError) -> status_pb2.Status:
    """Returns `error` as a google.rpc.Status with BadRequest or RetryInfo details where they apply."""
    code: int = status_code(error).value[0]
    result = status_pb2.Status(code=code, message=str(error))
    if isinstance(error, InvalidRequestError):
        fields = [
            error_details_pb2.BadRequest.FieldViolation(field=v.field, description=v.description)
            for v in error.violations
        ]
        result.details.add().Pack(error_details_pb2.BadRequest(field_violations=fields))
    if isinstance(error, OverloadedError):
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(error.retry_after_ms)
        result.details.add().Pack(retry)
    return result


def error_reply(error: RequestError, request_id: str = "") -> pb.ForwardReply:
    """Returns a stream's reply to a failed request: its id, and what a unary call's status would carry."""
    refused = status(error)
    reason = pb.RequestError(code=refused.code, message=refused.message, details=refused.details)
    return pb.ForwardReply(id=request_id, error=reason)


def trailing_metadata(error: RequestError) -> tuple[tuple[str, str | bytes], ...]:
    """Returns a unary call's metadata: the status, and pushback for gRPC's own retries."""
    details = ((DETAILS_KEY, status(error).SerializeToString()),)
    if isinstance(error, OverloadedError):
        return (*details, (PUSHBACK_KEY, str(error.retry_after_ms) if error.is_in_time else NO_RETRY))
    if isinstance(error, TooLargeError):
        return (*details, (PUSHBACK_KEY, NO_RETRY))
    return details


def _shortened(text: str, max_bytes: int) -> str:
    """Returns the text without its middle if it is too long: values come first, remedies last."""
    if (
        len(text) * _MAX_BYTES_A_LETTER <= max_bytes
        or len(encoded := text.encode(errors="replace")) <= max_bytes
    ):
        return text
    head = 2 * max_bytes // 3
    tail = max_bytes - head - len(_GAP)
    return encoded[:head].decode(errors="ignore") + _GAP + encoded[-tail:].decode(errors="ignore")
