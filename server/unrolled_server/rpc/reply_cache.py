"""Small replies that were sent before, by the bytes of their requests.

A file of its own because it is the shortest way through the server: a reply depends on its request alone, so
where the same bytes ask again, nothing has to be parsed, judged or computed. Parsing and judging the lesson's
words costs more than their states.
"""

from google.protobuf.message import DecodeError
from unrolled.v1 import forward_pb2 as pb
from unrolled.v1.wire import TIMING_BYTES, split_id

MAX_REQUEST_BYTES = 1 << 10
MAX_REPLY_BYTES = 4 << 10
# A dict entry and two bytes objects without their content, measured.
ENTRY_BYTES = 180


class Replies:
    """Replies without id and timing, by requests without id. Used from one event loop.

    There are two generations: when the younger has taken half of the memory it becomes the older one, and
    what was that is dropped, except for what was asked for meanwhile. So a reply in use costs no bookkeeping.

    Args:
        max_bytes: Memory for both generations; with 0 nothing is kept.
    """

    def __init__(self, *, max_bytes: int) -> None:
        self._max_young_bytes = max_bytes // 2
        self._young: dict[bytes, bytes] = {}
        self._old: dict[bytes, bytes] = {}
        self._young_bytes = 0

    def __contains__(self, question: bytes) -> bool:
        return question in self._young or question in self._old

    def find(self, request: bytes) -> bytes | None:
        """The reply to a request that has these bytes but for its id; without timing, as nothing is timed."""
        if len(request) > MAX_REQUEST_BYTES:
            return None
        question, id_field = split_id(request)
        reply = self._young.get(question)
        if reply is None:
            reply = self._old.get(question)
            if reply is None:
                return None
            self._put(question, reply)
        return reply + id_field

    def keep(self, request: bytes, reply: bytes, *, id_field: bytes) -> None:
        """Keeps a reply without its trailer, which holds timing and this id, if it is small.

        A request whose id is not found where `split_id` looks for it would get the reply of one without an
        id, so that is not kept.
        """
        if len(request) > MAX_REQUEST_BYTES or len(reply) > MAX_REPLY_BYTES or not self._max_young_bytes:
            return
        question, found_id_field = split_id(request)
        if found_id_field != id_field or (id_field and not _is_message_without_id(question)):
            return
        self._put(question, reply[: -TIMING_BYTES - len(id_field)])

    def _put(self, question: bytes, reply: bytes) -> None:
        size = len(question) + len(reply) + ENTRY_BYTES
        if self._young_bytes + size > self._max_young_bytes:
            self._old, self._young, self._young_bytes = self._young, {}, 0
        self._young[question] = reply
        self._young_bytes += size


def _is_message_without_id(question: bytes) -> bool:
    """Whether what was taken for the request's id was its last field, and the only one of that name."""
    try:
        return not pb.ForwardRequest.FromString(question).id
    except DecodeError:
        return False
