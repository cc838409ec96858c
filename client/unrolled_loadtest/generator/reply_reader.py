"""What a reply says to a load tester, at the least price: its bits, its server's times, its error.

A file of its own because it is the one place that says which bytes of a reply the promise covers, and knows
two ways to find them. A server that writes replies as this project's does puts what may differ last; the
bytes before are the bits as they are (the fingerprint among them). Replies of other servers begin with the
values, as plain protobuf writes them, and are taken apart.
"""

import math
from typing import NamedTuple

from unrolled.v1.wire import SplitReply, find_trailer, split_reply

_SHAPE_TAG = b"\x12"
"""What this project's replies begin with; a refusal begins with its id, others with the values."""


class Reply(NamedTuple):
    """What counts of a reply.

    Attributes:
        bits: What the promise covers.
        queue_s: Seconds in the server's queue; NaN where it does not say.
        compute_s: Seconds of its computing, likewise.
        code: gRPC's number of the error; 0 for none.
    """

    bits: bytes | memoryview
    queue_s: float
    compute_s: float
    code: int = 0


def is_plain(reply: bytes) -> bool:
    """Whether it is written as this project's server writes an answer."""
    return reply.startswith(_SHAPE_TAG)


def read_plain(reply: bytes, id_field: bytes = b"") -> Reply:
    """Reads a reply that `is_plain` and has this id."""
    end, queue_s, compute_s = find_trailer(reply, id_field)
    return Reply(memoryview(reply)[:end], queue_s, compute_s)


def read(reply: bytes) -> Reply:
    """Reads the reply to a unary call.

    Raises:
        google.protobuf.message.DecodeError: It is none.
    """
    return read_plain(reply) if is_plain(reply) else read_parts(split_reply(reply))


def read_parts(reply: SplitReply) -> Reply:
    """Reads a reply that was taken apart."""
    rest = reply.rest
    timing = rest.timing if rest.HasField("timing") else None
    code = rest.error.code if rest.HasField("error") else 0
    for name in ("id", "timing", "fingerprint"):
        rest.ClearField(name)
    head = rest.SerializeToString(deterministic=True)
    bits = [len(head).to_bytes(8, "little"), head, reply.values.tobytes(), reply.index.tobytes()]
    return Reply(
        b"".join(bits),
        math.nan if timing is None else timing.queue_s,
        math.nan if timing is None else timing.compute_s,
        code,
    )
