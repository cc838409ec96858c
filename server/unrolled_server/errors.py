"""What can go wrong with a request, and the one table that says what gRPC calls it.

RequestError
├── InvalidRequestError   the request is wrong; sending it again does not help
├── UnsupportedError      the request asks for what this server does not do
└── ComputeError          our fault; the log has the traceback, the wire has none of it
"""

from collections.abc import Sequence
from dataclasses import dataclass

import grpc
from google.rpc import error_details_pb2, status_pb2

DETAILS_KEY = "grpc-status-details-bin"
"""The trailing metadata key under which gRPC carries a google.rpc.Status."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One broken rule: the field's path, and what is wrong, the value, the limit and the remedy."""

    field: str
    description: str


class RequestError(Exception):
    """A request that gets no answer; the message is for the caller."""


class InvalidRequestError(RequestError):
    """The request breaks the contract in the fields that `violations` names."""

    def __init__(self, violations: Sequence[Violation]) -> None:
        super().__init__("; ".join(violation.description for violation in violations))
        self.violations = tuple(violations)


class UnsupportedError(RequestError):
    """The request asks for something that the contract knows and this server does not do."""


class ComputeError(RequestError):
    """The computation failed for a reason that is not in the request."""


STATUS_CODES: dict[type[RequestError], grpc.StatusCode] = {
    InvalidRequestError: grpc.StatusCode.INVALID_ARGUMENT,
    UnsupportedError: grpc.StatusCode.UNIMPLEMENTED,
    ComputeError: grpc.StatusCode.INTERNAL,
}


def status_code(error: RequestError) -> grpc.StatusCode:
    """The gRPC code for `error`."""
    return STATUS_CODES[type(error)]


def status(error: RequestError) -> status_pb2.Status:
    """`error` as a google.rpc.Status: code, message, and BadRequest details for the fields at fault."""
    code: int = status_code(error).value[0]
    answer = status_pb2.Status(code=code, message=str(error))
    if isinstance(error, InvalidRequestError):
        fields = [
            error_details_pb2.BadRequest.FieldViolation(field=v.field, description=v.description)
            for v in error.violations
        ]
        answer.details.add().Pack(error_details_pb2.BadRequest(field_violations=fields))
    return answer
