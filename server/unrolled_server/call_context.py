"""Who calls, and until when the answer is of use: what gRPC knows of a call beside its bytes.

A file of its own because the check of tokens sets a part of it, and admission and the logs read it.
"""

import math
import time
from contextvars import ContextVar
from typing import Any

import grpc.aio

from unrolled_server.scheduling.admission import Terms

Context = grpc.aio.ServicerContext[bytes, bytes]

TOKEN_NAME: ContextVar[str | None] = ContextVar("token_name", default=None)
"""The name of the token that came with the call. Each call has a task, and so a context, of its own."""


def terms_of(context: Context) -> Terms:
    """On what terms the call comes that this task answers; its deadline is told by the monotonic clock."""
    left_s = context.time_remaining()
    deadline_s = math.inf if left_s is None else time.monotonic() + left_s
    peer = context.peer()
    return Terms(client=_token_or(peer), peer=peer, deadline_s=deadline_s)


def caller_of(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """The caller of the call that this task answers, as `token:NAME` or gRPC's name of the peer.

    About a microsecond. One peer is one connection: two clients of one machine are two callers.
    """
    return _token_or(context.peer())


def _token_or(peer: str) -> str:
    name = TOKEN_NAME.get()
    return peer if name is None else f"token:{name}"
