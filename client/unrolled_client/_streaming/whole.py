"""A call that travels as one request."""

from unrolled.v1.wire import SplitReply

from unrolled_client._messages.decoding import decode_parsed
from unrolled_client._messages.request import EncodedRequest, Request
from unrolled_client._streaming.assembly import Error
from unrolled_client._streaming.sizing import encode_whole, message_bytes
from unrolled_client.results import Result


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
