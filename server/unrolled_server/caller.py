"""What gRPC knows of a call beside its bytes: who makes it, and until when its answer is of use."""

import math
import time

import grpc.aio

from unrolled_server.admission import Terms

Context = grpc.aio.ServicerContext[bytes, bytes]


def terms_of(context: Context) -> Terms:
    """On what terms a call comes; each connection is a client of its own."""
    left_s = context.time_remaining()
    deadline_s = math.inf if left_s is None else time.monotonic() + left_s
    peer = context.peer()
    return Terms(client=peer, peer=peer, deadline_s=deadline_s)
