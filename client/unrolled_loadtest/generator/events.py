"""What became of each request, as few bytes: what the processes that send tell the one that counts.

A file of its own because both sides must agree on it. One event takes a quarter of a microsecond to write;
all counting is done by the other side.
"""

import struct

import grpc
import numpy as np

UNANSWERED, UNSENT = 254, 255
"""Codes beside gRPC's: no answer when the run ended; never sent, because it ended first."""

IS_HELD = 1
"""A flag: it was late because as many requests as are allowed were without an answer."""

CODE_NAMES: dict[int, str] = {code.value[0]: code.name for code in grpc.StatusCode}
"""gRPC's names of its codes, by their numbers."""

EVENT = np.dtype(
    [
        ("due_s", "<f8"),  # from the measurement's begin, as all times here
        ("sent_s", "<f8"),  # NaN if it never was
        ("done_s", "<f8"),  # when the answer came, or the run gave up waiting
        ("queue_s", "<f4"),  # the server's; NaN where it did not say
        ("compute_s", "<f4"),
        ("code", "u1"),  # gRPC's, or one of the two above
        ("flags", "u1"),
    ]
)
_STRUCT = struct.Struct("<dddffBB")
assert _STRUCT.size == EVENT.itemsize  # noqa: S101 - the two say the same

pack_event = _STRUCT.pack
"""An event's bytes, from its fields in order."""
