"""A call that travels on a stream: its interface, and the call of one request."""

from typing import Protocol, TypeVar

from unrolled.v1.wire import SplitReply

from unrolled_client._messages.decoding import decode_parsed
from unrolled_client._messages.request import EncodedRequest, Request
from unrolled_client._streaming.sizing import encode_whole, message_bytes
from unrolled_client.errors import UnrolledError
from unrolled_client.results import Result

MAX_BYTES_IN_FLIGHT = 16 << 20
"""Bytes of replies that may be outstanding on a stream; the last request may exceed it."""

Error = TypeVar("Error", bound=UnrolledError)


class Assembly(Protocol):
    """One call: makes its requests, and its result from their replies, which come in any order."""

    part_count: int  # number of requests, 1 or more

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


class Whole:
    """Implements Assembly with one request."""

    part_count = 1

    def __init__(self, request: Request) -> None:
        self._request = request
        self._result: Result | None = None

    def encode(self, at: int, *, request_id: str) -> EncodedRequest:  # noqa: ARG002 - Assembly's signature
        return encode_whole(self._request, request_id=request_id)

    def reply_bytes(self, at: int) -> int:  # noqa: ARG002 - Assembly's signature
        return message_bytes(self._request)

    def place(self, at: int, reply: SplitReply, *, request: EncodedRequest) -> None:  # noqa: ARG002 - Assembly's signature
        self._result = decode_parsed(reply, request)

    def renamed(self, at: int, error: Error) -> Error:  # noqa: ARG002 - Assembly's signature
        return error  # its indices are the caller's

    def result(self) -> Result:
        assert self._result is not None  # noqa: S101 - the contract of Assembly
        return self._result
