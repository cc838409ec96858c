"""Drives an exchange over ForwardStream for the synchronous client: the one loop that sends again.

Unary calls are repeated by gRPC itself; a stream that broke is not, because only we know which of its
requests were answered.
"""

import queue
import random
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import Any, TypeAlias

import grpc

from unrolled_client._streaming.exchange import Exchange
from unrolled_client.errors import DeadlineError, UnavailableError, UnrolledError
from unrolled_client.results import Outcome, Result

FORWARD_STREAM = "/unrolled.v1.ForwardService/ForwardStream"

OpenStream: TypeAlias = Callable[[Iterator[bytes], float | None], Any]
"""Starts the call, given requests and seconds, and gives grpc's iterator of replies."""


def drive(
    exchange: Exchange[Any],
    open_stream: OpenStream,
    *,
    timeout_s: float | None,
    as_error: Callable[[grpc.RpcError], UnrolledError],
) -> Generator[Outcome, None, None]:
    """The outcomes of an exchange; closing the iterator cancels the stream.

    Everything happens in the caller's thread, when an outcome is asked for; batches are taken there too.

    Args:
        exchange: What to send.
        open_stream: Starts ForwardStream on some channel.
        timeout_s: Seconds for all of it; None for no end.
        as_error: The exception for a failed call.

    Raises:
        UnrolledError: The stream failed and would fail again.
    """
    deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
    stream = _Stream(open_stream, deadline_s=deadline_s)
    try:
        while True:
            _send(stream, exchange)
            if (outcome := exchange.next_outcome()) is not None:
                yield outcome
            elif exchange.is_done:
                if not exchange.is_waiting:  # else what still comes is of no use to anybody
                    stream.finish()
                return
            elif not exchange.is_waiting:
                _pause(exchange.delay_s(now_s=time.monotonic()), deadline_s=deadline_s)
            elif (error := _read(stream, exchange, as_error)) is not None:
                stream.close()
                delay_s = exchange.broken(error, jitter=random.random())  # noqa: S311 - spreads load, hides nothing
                _pause(delay_s, deadline_s=deadline_s)
                stream = _Stream(open_stream, deadline_s=deadline_s)
    finally:
        stream.close()


def checked(outcomes: Generator[Outcome, None, None], *, is_raising: bool) -> Generator[Outcome, None, None]:
    """The outcomes, up to the first error if it is to be raised; closes theirs with itself."""
    with closing(outcomes):
        for outcome in outcomes:
            if is_raising and outcome.error is not None:
                raise outcome.error
            yield outcome


def results(outcomes: Generator[Outcome, None, None]) -> Generator[Result, None, None]:
    """The results, up to the first error; closes the outcomes with itself."""
    with closing(outcomes):
        for outcome in outcomes:
            yield outcome.result


def _send(stream: "_Stream", exchange: Exchange[Any]) -> None:
    """Sends what there is room for."""
    while (data := exchange.next_message(now_s=time.monotonic())) is not None:
        stream.send(data)


def _read(
    stream: "_Stream", exchange: Exchange[Any], as_error: Callable[[grpc.RpcError], UnrolledError]
) -> UnrolledError | None:
    """Waits for one message; gives why the stream broke, if it did."""
    try:
        data = stream.receive()
    except grpc.RpcError as error:
        return as_error(error)
    if data is None:
        return UnavailableError("the server ended the stream before it had answered everything")
    exchange.receive(data, now_s=time.monotonic())
    return None


def _pause(delay_s: float, *, deadline_s: float | None) -> None:
    refuse_vain_pause(delay_s, deadline_s=deadline_s)
    time.sleep(delay_s)


def refuse_vain_pause(delay_s: float, *, deadline_s: float | None) -> None:
    """Raises DeadlineError if the deadline comes before the pause ends: then it would be in vain."""
    if deadline_s is not None and time.monotonic() + delay_s >= deadline_s:
        raise DeadlineError(
            f"the server wants to be asked again in {delay_s:.3g} s, which is beyond timeout_s; raise it",
            code=grpc.StatusCode.DEADLINE_EXCEEDED,
        )


def seconds_until(deadline_s: float | None) -> float | None:
    """What is left, 0 or more; None for no end."""
    return None if deadline_s is None else max(0.0, deadline_s - time.monotonic())


class _Stream:
    """One ForwardStream call, opened when something is sent; gRPC reads requests in a thread of its own."""

    def __init__(self, open_stream: OpenStream, *, deadline_s: float | None) -> None:
        self._open = open_stream
        self._deadline_s = deadline_s
        self._requests: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._call: Any = None

    def send(self, data: bytes) -> None:
        """Hands a message to gRPC."""
        self._requests.put(data)
        if self._call is None:
            self._call = self._open(iter(self._requests.get, None), seconds_until(self._deadline_s))

    def receive(self) -> bytes | None:
        """The next message; None at the stream's end. One at a time, so what is not read stays outside."""
        return next(self._call, None)

    def finish(self) -> None:
        """Says that nothing more comes and waits for the server's good-bye."""
        self._requests.put(None)
        if self._call is not None:
            self._call.code()

    def close(self) -> None:
        """Ends the call, wherever it is; again does nothing."""
        self._requests.put(None)
        if self._call is not None:
            self._call.cancel()
