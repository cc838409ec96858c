"""The client and the deadline of the current call."""

import math
import time
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import grpc.aio

Context = grpc.aio.ServicerContext[bytes, bytes]

TOKEN_NAME: ContextVar[str | None] = ContextVar("token_name", default=None)
"""Name of the call's bearer token. Each call runs in a task, and so in a context, of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallInfo:
    """A call's client, whose limits and fair share it counts against, connection and deadline (monotonic)."""

    client: str
    peer: str = ""
    deadline_s: float = math.inf


def call_info(context: Context) -> CallInfo:
    """Returns the client and the deadline (monotonic clock) of the current call."""
    remaining_s = context.time_remaining()
    deadline_s = math.inf if remaining_s is None else time.monotonic() + remaining_s
    peer = context.peer()
    return CallInfo(client=_token_or(peer), peer=peer, deadline_s=deadline_s)


def caller_of(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """Returns the current call's client: `token:NAME`, or gRPC's name of the peer (one connection)."""
    return _token_or(context.peer())


def _token_or(peer: str) -> str:
    name = TOKEN_NAME.get()
    return peer if name is None else f"token:{name}"
