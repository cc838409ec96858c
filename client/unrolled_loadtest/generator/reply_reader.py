"""Reads bits, times and errors from replies, at the lowest cost.

This project's server writes everything that may differ (id and times) last, in a trailer; the bytes before it
are the bits. Replies of other servers, as protobuf writes them, are split into fields.
"""

import math
from typing import NamedTuple

from unrolled.v1.wire import SplitReply, find_trailer, split_reply

_SHAPE_TAG = (
    b"\x12"  # replies with a trailer begin with the shape, refusals with the id, others with the values
)


class Reply(NamedTuple):
    """The parts of a reply that count; times are NaN if the reply lacks them."""

    bits: bytes | memoryview  # what must be equal for equal requests
    queue_s: float
    compute_s: float
    code: int = 0  # gRPC's code of the error; 0 for none


def has_trailer(reply: bytes) -> bool:
    """Returns whether this project's server wrote the reply, and it is no error."""
    return reply.startswith(_SHAPE_TAG)


def read_with_trailer(reply: bytes, id_field: bytes = b"") -> Reply:
    """Reads a reply with a trailer, which has this id."""
    end, queue_s, compute_s = find_trailer(reply, id_field)
    return Reply(memoryview(reply)[:end], queue_s, compute_s)


def read_reply(reply: bytes) -> Reply:
    """Reads the reply to a unary call.

    Raises:
        google.protobuf.message.DecodeError: It is no reply.
    """
    return read_with_trailer(reply) if has_trailer(reply) else read_fields(split_reply(reply))


def read_fields(reply: SplitReply) -> Reply:
    """Reads a reply that was split into fields."""
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
