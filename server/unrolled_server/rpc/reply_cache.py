"""Small replies by the bytes of their requests: equal bytes need no parsing, validation or computing."""

from google.protobuf.message import DecodeError
from unrolled.v1 import forward_pb2 as pb
from unrolled.v1.wire import TIMING_BYTES, split_id

MAX_REQUEST_BYTES = 1 << 10
MAX_REPLY_BYTES = 4 << 10
# A dict entry and two bytes objects without their content, measured.
ENTRY_BYTES = 180


class ReplyCache:
    """Replies without id and timing, by requests without id. Used from one event loop.

    When the younger of two generations fills half of `max_bytes` it becomes the older one, and the previous
    older one is dropped, except for what was asked for since. So a reply in use costs no bookkeeping.
    """

    def __init__(self, *, max_bytes: int) -> None:
        self._max_young_bytes = max_bytes // 2
        self._young: dict[bytes, bytes] = {}
        self._old: dict[bytes, bytes] = {}
        self._young_bytes = 0

    def __contains__(self, key: bytes) -> bool:
        return key in self._young or key in self._old

    def get(self, request: bytes) -> bytes | None:
        """Returns the reply to a request with these bytes, with its id and without timing."""
        if len(request) > MAX_REQUEST_BYTES:
            return None
        key, id_field = split_id(request)
        reply = self._young.get(key)
        if reply is None:
            reply = self._old.get(key)
            if reply is None:
                return None
            self._store(key, reply)
        return reply + id_field

    def put(self, request: bytes, reply: bytes, *, id_field: bytes) -> None:
        """Stores a reply without its trailer (timing and id), if it is small.

        A request whose id `split_id` does not find is not stored: it would get the reply of one without an
        id.
        """
        if len(request) > MAX_REQUEST_BYTES or len(reply) > MAX_REPLY_BYTES or not self._max_young_bytes:
            return
        key, found_id_field = split_id(request)
        if found_id_field != id_field or (id_field and not _is_message_without_id(key)):
            return
        self._store(key, reply[: -TIMING_BYTES - len(id_field)])

    def _store(self, key: bytes, reply: bytes) -> None:
        size = len(key) + len(reply) + ENTRY_BYTES
        if self._young_bytes + size > self._max_young_bytes:
            self._old, self._young, self._young_bytes = self._young, {}, 0
        self._young[key] = reply
        self._young_bytes += size


def _is_message_without_id(key: bytes) -> bool:
    """Returns whether the bytes cut off as the id were the request's last field, and its only id."""
    try:
        return not pb.ForwardRequest.FromString(key).id
    except DecodeError:
        return False
