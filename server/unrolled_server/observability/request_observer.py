"""What becomes of each request: counted always, told of where somebody listens.

A file of its own so that the way of a request has one line for each of its ends, and knows neither of
metrics, nor of logs, nor of traces. Counting costs a fraction of a microsecond; what logs and traces say of a
request is read off its bytes, and only for them.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from unrolled.v1 import forward_pb2 as pb
from unrolled.v1.wire import split_reply

from unrolled_server.errors import RequestError, status_code
from unrolled_server.observability.counters import GET_SERVER_INFO, OK, MethodTally, Tally

LOG = logging.getLogger(__name__)

CANCELLED = grpc.StatusCode.CANCELLED.name

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A request that ended, as far as it may be told: nothing of its words but how many they are.

    Attributes:
        method: Of the contract.
        code: gRPC's name of its end.
        seconds: From its arrival until its reply was ready.
        request: Without words, alphabet and state; empty if it was no message.
        word_count: Of the request, or where it shares the words of another, of its reply.
        timing: What its reply says; empty where there is none.
        context: The call that it came with.
    """

    method: str
    code: str
    seconds: float
    request: pb.ForwardRequest
    word_count: int
    timing: pb.Timing
    context: Context


Listener = Callable[[Ended], None]


class Asked:
    """A request that has arrived. Its bytes are kept only where somebody listens."""

    __slots__ = ("arrived_s", "context", "data", "method")

    def __init__(self, method: MethodTally, data: bytes, context: Context) -> None:
        self.method = method
        self.data = data
        self.context = context
        self.arrived_s = monotonic()


class Observer:
    """Is told how each request ends. Used from one event loop.

    Args:
        tally: Counts.
        listeners: Are told of each end.
    """

    def __init__(self, tally: Tally, listeners: Sequence[Listener] = ()) -> None:
        self.tally = tally
        self._methods = tally.methods
        self._listeners = listeners

    def asked(self, method: str, data: bytes, context: Context) -> Asked:
        """A request that has just arrived; tell its end by one of the others."""
        return Asked(self._methods[method], data if self._listeners else b"", context)

    def accepted(self, *, words: int, symbols: int) -> None:
        """Counts the words of a request that is valid and for which there is room, and their symbols."""
        self.tally.words += words
        self.tally.symbols += symbols

    def answered(self, asked: Asked, reply: bytes) -> None:
        """Its reply is ready to be sent."""
        seconds = monotonic() - asked.arrived_s
        asked.method.answered += 1
        asked.method.seconds.note(seconds)
        if self._listeners:
            self._tell(asked, OK, seconds, reply)

    def refused(self, asked: Asked, error: RequestError) -> None:
        """It gets no answer, but this error."""
        self._end(asked, status_code(error).name)

    def left(self, asked: Asked) -> None:
        """Its caller is gone."""
        self._end(asked, CANCELLED)

    def stream_ended(self, code: str) -> None:
        """A stream is over."""
        self.tally.streams[code] += 1

    def _end(self, asked: Asked, code: str) -> None:
        seconds = monotonic() - asked.arrived_s
        asked.method.failed[code] += 1
        asked.method.seconds.note(seconds)
        if self._listeners:
            self._tell(asked, code, seconds, b"")

    def _tell(self, asked: Asked, code: str, seconds: float, reply: bytes) -> None:
        is_forward = asked.method.name != GET_SERVER_INFO
        request = _request(asked.data) if is_forward else pb.ForwardRequest()
        answer = split_reply(reply).rest if is_forward and reply else pb.ForwardReply()
        ended = Ended(
            method=asked.method.name,
            code=code,
            seconds=seconds,
            word_count=len(request.words) or (answer.shape[0] if answer.shape else 0),
            request=_without_contents(request),
            timing=answer.timing,
            context=asked.context,
        )
        for listener in self._listeners:
            try:
                listener(ended)
            except Exception:
                LOG.exception("could not tell of a request")  # which is answered all the same


def _request(data: bytes) -> pb.ForwardRequest:
    try:
        return pb.ForwardRequest.FromString(data)
    except DecodeError:
        return pb.ForwardRequest()


def _without_contents(request: pb.ForwardRequest) -> pb.ForwardRequest:
    """What a caller would not want to be read elsewhere stays here."""
    return pb.ForwardRequest(hidden_size=request.hidden_size, network=request.network, id=request.id)
