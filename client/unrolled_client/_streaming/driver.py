"""Runs an exchange over ForwardStream for the synchronous client, with a new stream after one that broke.

gRPC itself retries unary calls but not streams, because only the exchange knows which requests were answered.
"""

import queue
import random
import time
from collections.abc import Callable, Generator
from typing import Any, TypeAlias

import grpc

from unrolled_client._streaming.exchange import Exchange
from unrolled_client.errors import DeadlineError, UnavailableError, UnrolledError
from unrolled_client.results import Outcome

OpenStream: TypeAlias = Callable[[Any, float | None], Any]
"""Starts the call, given requests and a timeout in seconds, and returns gRPC's object for it."""


def drive(
    exchange: Exchange[Any],
    open_stream: OpenStream,
    *,
    timeout_s: float | None,
    as_error: Callable[[grpc.RpcError], UnrolledError],
) -> Generator[Outcome, None, None]:
    """Yields the outcomes of an exchange; closing the iterator cancels the stream.

    Everything happens in the caller's thread when it asks for an outcome; batches are taken there, too.
    `timeout_s` is for the whole exchange; `as_error` returns the exception for a failed call.
    """
    deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
    stream = _Stream(open_stream, deadline_s=deadline_s)
    try:
        while True:
            while (request := exchange.next_request(now_s=time.monotonic())) is not None:
                stream.send(request.data)
            if (outcome := exchange.next_outcome()) is not None:
                yield outcome
            elif exchange.is_done:
                if not exchange.is_waiting:  # else replies are due that are of no use any more
                    stream.finish()
                return
            elif not exchange.is_waiting:
                _pause(exchange.delay_s(now_s=time.monotonic()), deadline_s=deadline_s)
            elif (error := _read(stream, exchange, as_error)) is not None:
                stream.close()
                delay_s = exchange.handle_broken_stream(error, jitter=random.random())  # noqa: S311 - spreads load, hides nothing
                _pause(delay_s, deadline_s=deadline_s)
                stream = _Stream(open_stream, deadline_s=deadline_s)
    finally:
        stream.close()


def _read(
    stream: "_Stream", exchange: Exchange[Any], as_error: Callable[[grpc.RpcError], UnrolledError]
) -> UnrolledError | None:
    """Waits for one message; returns why the stream broke, if it did."""
    try:
        data = stream.receive()
    except grpc.RpcError as error:
        return as_error(error)
    if data is None:
        return UnavailableError("the server ended the stream before it had answered everything")
    exchange.receive(data, now_s=time.monotonic())
    return None


def _pause(delay_s: float, *, deadline_s: float | None) -> None:
    refuse_late_pause(delay_s, deadline_s=deadline_s)
    time.sleep(delay_s)


def refuse_late_pause(delay_s: float, *, deadline_s: float | None) -> None:
    """Raises DeadlineError if the deadline comes before the pause ends."""
    if deadline_s is not None and time.monotonic() + delay_s >= deadline_s:
        raise DeadlineError(
            f"the server wants to be asked again in {delay_s:.3g} s, which is beyond timeout_s; raise it",
            code=grpc.StatusCode.DEADLINE_EXCEEDED,
        )


def _seconds_until(deadline_s: float | None) -> float | None:
    """Returns what is left, 0 or more; None for no deadline."""
    return None if deadline_s is None else max(0.0, deadline_s - time.monotonic())


class BaseStream:
    """One ForwardStream call, opened by the first message; gRPC takes the messages from a queue."""

    def __init__(self, open_stream: OpenStream, requests: Any, *, deadline_s: float | None) -> None:
        self._open = open_stream
        self._requests = requests
        self._deadline_s = deadline_s
        self._call: Any = None

    def send(self, data: bytes) -> None:
        """Queues a message for gRPC, and opens the call with the first."""
        self._requests.put_nowait(data)
        if self._call is None:
            self._call = self._open(self._outgoing(), _seconds_until(self._deadline_s))

    def close(self) -> None:
        """Cancels the call; a second time does nothing."""
        self._requests.put_nowait(None)
        if self._call is not None:
            self._call.cancel()

    def _outgoing(self) -> Any:
        """Returns the iterator from which gRPC takes the messages, until None."""
        return iter(self._requests.get, None)


class _Stream(BaseStream):
    """A call of grpc, with a thread of gRPC that takes the messages."""

    def __init__(self, open_stream: OpenStream, *, deadline_s: float | None) -> None:
        super().__init__(open_stream, queue.SimpleQueue(), deadline_s=deadline_s)

    def receive(self) -> bytes | None:
        """Returns the next message; None at the stream's end."""
        return next(self._call, None)

    def finish(self) -> None:
        """Ends the requests and waits for the server's status."""
        self._requests.put_nowait(None)
        if self._call is not None:
            self._call.code()
