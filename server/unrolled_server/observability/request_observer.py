"""Counts how each request ends, and reports it to the access log and to traces where they are on."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic

from google.protobuf.message import DecodeError
from unrolled.v1 import forward_pb2 as pb
from unrolled.v1.wire import split_reply

from unrolled_server.call_context import Context
from unrolled_server.errors import RequestError, status_code
from unrolled_server.observability.counters import (
    CANCELLED,
    GET_SERVER_INFO,
    OK,
    MethodCounters,
    RequestCounters,
)

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedRequest:
    """A request that ended, without the contents that must not appear in logs and traces.

    `request` has no words, alphabet and state, and is empty if its bytes were no message; `timing` is empty
    without a reply.
    """

    method: str
    code: str
    seconds: float
    request: pb.ForwardRequest
    word_count: int
    timing: pb.Timing
    context: Context


Listener = Callable[[FinishedRequest], None]


class PendingRequest:
    """A request that has arrived. `data` is empty unless there are listeners."""

    __slots__ = ("arrived_s", "context", "data", "method")

    def __init__(self, method: MethodCounters, data: bytes, context: Context) -> None:
        self.method = method
        self.data = data
        self.context = context
        self.arrived_s = monotonic()


class RequestObserver:
    """Counts the requests of one event loop, each method the event that it is named after.

    Each request that ended is passed to all `listeners`.
    """

    def __init__(self, counters: RequestCounters, listeners: Sequence[Listener] = ()) -> None:
        self.counters = counters
        self._methods = counters.methods
        self._listeners = listeners

    def received(self, method: str, data: bytes, context: Context) -> PendingRequest:
        """Returns the request, for `answered`, `refused` or `cancelled` at its end."""
        return PendingRequest(self._methods[method], data if self._listeners else b"", context)

    def accepted(self, *, words: int, symbols: int) -> None:
        self.counters.words += words
        self.counters.symbols += symbols

    def answered(self, pending: PendingRequest, reply: bytes) -> None:
        seconds = monotonic() - pending.arrived_s
        pending.method.answered += 1
        pending.method.seconds.observe(seconds)
        if self._listeners:
            self._report(pending, OK, seconds, reply)

    def refused(self, pending: PendingRequest, error: RequestError) -> None:
        self._fail(pending, status_code(error).name)

    def cancelled(self, pending: PendingRequest) -> None:
        self._fail(pending, CANCELLED)

    def stream_ended(self, code: str) -> None:
        self.counters.streams[code] += 1

    def _fail(self, pending: PendingRequest, code: str) -> None:
        seconds = monotonic() - pending.arrived_s
        pending.method.failed[code] += 1
        pending.method.seconds.observe(seconds)
        if self._listeners:
            self._report(pending, code, seconds, b"")

    def _report(self, pending: PendingRequest, code: str, seconds: float, reply: bytes) -> None:
        is_forward = pending.method.name != GET_SERVER_INFO
        request = _parsed(pending.data) if is_forward else pb.ForwardRequest()
        answer = split_reply(reply).rest if is_forward and reply else pb.ForwardReply()
        finished = FinishedRequest(
            method=pending.method.name,
            code=code,
            seconds=seconds,
            word_count=len(request.words) or (answer.shape[0] if answer.shape else 0),
            request=pb.ForwardRequest(
                hidden_size=request.hidden_size, network=request.network, id=request.id
            ),
            timing=answer.timing,
            context=pending.context,
        )
        for listener in self._listeners:
            try:
                listener(finished)
            except Exception:
                LOG.exception("could not log or trace a request")  # which is answered all the same


def _parsed(data: bytes) -> pb.ForwardRequest:
    try:
        return pb.ForwardRequest.FromString(data)
    except DecodeError:
        return pb.ForwardRequest()
