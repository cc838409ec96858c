"""The interface of a call that travels as one or more requests on a stream."""

from typing import Protocol, TypeVar

from unrolled.v1.wire import SplitReply

from unrolled_client._messages.request import EncodedRequest
from unrolled_client.errors import UnrolledError
from unrolled_client.results import Result

MAX_BYTES_IN_FLIGHT = 16 << 20
"""Bytes of replies that may be outstanding on a stream; the last request may exceed it."""

Error = TypeVar("Error", bound=UnrolledError)


class Assembly(Protocol):
    """One call: makes its requests, and its result from their replies, which come in any order.

    Attributes:
        part_count: Number of requests, 1 or more.
    """

    part_count: int

    def encode(self, at: int, *, request_id: str) -> EncodedRequest:
        """Returns request number `at`, which is sent next; called again after a broken stream."""

    def reply_bytes(self, at: int) -> int:
        """Returns about how many bytes the reply to request `at` has."""

    def place(self, at: int, reply: SplitReply, *, request: EncodedRequest) -> None:
        """Stores the reply to request `at`; raises ProtocolError if it does not fit."""

    def renamed(self, at: int, error: Error) -> Error:
        """Returns the server's error for request `at`, with the words' indices in the caller's list."""

    def result(self) -> Result:
        """Returns the call's result, once every request has its reply."""
