"""Binary records of requests, which worker processes report. Packing one takes a quarter of a microsecond."""

import struct

import grpc
import numpy as np

UNANSWERED, UNSENT = 254, 255
"""Codes beside gRPC's: without an answer when the run ended; not even sent by then."""

FLAG_AT_LIMIT = 1
"""The request was late because `max_in_flight` requests were without an answer."""

CODE_NAMES: dict[int, str] = {code.value[0]: code.name for code in grpc.StatusCode}

EVENT = np.dtype(
    [
        ("due_s", "<f8"),  # all times are from the start of the measurement
        ("sent_s", "<f8"),  # NaN if it was never sent
        ("done_s", "<f8"),  # of the answer, or when the run stopped waiting
        ("queue_s", "<f4"),  # the server's times; NaN if the reply lacks them
        ("compute_s", "<f4"),
        ("code", "u1"),  # gRPC's, UNANSWERED or UNSENT
        ("flags", "u1"),
    ]
)
_STRUCT = struct.Struct("<dddffBB")
assert _STRUCT.size == EVENT.itemsize  # noqa: S101 - two definitions of one layout

pack_event = _STRUCT.pack
"""Returns the bytes of an event, given its fields in order."""
