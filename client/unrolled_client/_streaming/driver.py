"""Runs an exchange over ForwardStream for the synchronous client, with a new stream after one that broke.

gRPC itself retries unary calls but not streams, because only the exchange knows which requests were answered.
"""

import queue
import random
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import grpc

from unrolled_client._streaming.exchange import Exchange
from unrolled_client.errors import DeadlineError, UnavailableError, UnrolledError
from unrolled_client.results import Outcome

OpenStream: TypeAlias = Callable[[Any], Any]
"""Starts the call, given requests, and returns gRPC's object for it."""
_CHECK_S = 0.05


def drive(
    exchange: Exchange[Any],
    open_stream: OpenStream,
    *,
    timeout_s: float | None,
    as_error: Callable[[grpc.RpcError], UnrolledError],
) -> Generator[Outcome, None, None]:
    """Yields the outcomes of an exchange; closing the iterator cancels the stream.

    Everything happens in the caller's thread when it asks for an outcome; batches are taken there, too.
    `timeout_s` is for each wait, see TimeLimit; `as_error` returns the exception for a failed call.
    """
    limit = TimeLimit(exchange, timeout_s)
    stream, watchdog = _Stream(open_stream), _Watchdog(limit)
    try:
        watchdog.start()
        while True:
            while (request := exchange.next_request(now_s=time.monotonic())) is not None:
                stream.send(request.data)
            limit.update()
            if (outcome := exchange.next_outcome()) is not None:
                yield outcome
                limit.restart()
            elif exchange.is_done:
                if not exchange.is_waiting:  # else replies are due that are of no use any more
                    with watchdog.watching(stream):
                        stream.finish()
                return
            elif not exchange.is_waiting:
                _pause(exchange.delay_s(now_s=time.monotonic()), limit=limit)
            elif (error := _read(stream, exchange, as_error, watchdog=watchdog)) is not None:
                stream.close()
                _pause(limit.delay_after(error), limit=limit)
                stream = _Stream(open_stream)
    finally:
        watchdog.stop()
        stream.close()


def _read(
    stream: "_Stream",
    exchange: Exchange[Any],
    as_error: Callable[[grpc.RpcError], UnrolledError],
    *,
    watchdog: "_Watchdog",
) -> UnrolledError | None:
    """Waits for one message; returns why the stream broke, if it did."""
    try:
        with watchdog.watching(stream):
            data = stream.receive()
    except grpc.RpcError as error:
        return as_error(error)
    if data is None:
        return UnavailableError("the server ended the stream before it had answered everything")
    exchange.receive(data, now_s=time.monotonic())
    return None


def _pause(delay_s: float, *, limit: "TimeLimit") -> None:
    limit.refuse_late(delay_s)
    time.sleep(delay_s)


class TimeLimit:
    """The time that a caller may wait: `timeout_s` after the latest progress of an exchange.

    Progress is a batch that was taken or a part that is done, not a refusal that says when to retry.
    """

    def __init__(self, exchange: Exchange[Any], timeout_s: float | None) -> None:
        self._exchange = exchange
        self.timeout_s = timeout_s
        self.restart()

    def restart(self) -> None:
        """Begins the time anew, because the caller returned or there was progress."""
        self._counts = self._exchange.part_count, self._exchange.done_count
        self._begin_s = time.monotonic()
        self._failure: UnrolledError | None = None

    def update(self) -> None:
        """Begins the time anew if there was progress."""
        if self._counts != (self._exchange.part_count, self._exchange.done_count):
            self.restart()

    @property
    def left_s(self) -> float | None:
        """The rest, 0 or more; None without a timeout."""
        if self.timeout_s is None:
            return None
        return max(0.0, self._begin_s + self.timeout_s - time.monotonic())

    def delay_after(self, error: UnrolledError) -> float:
        """Returns the seconds to wait before another stream; see `Exchange.handle_broken_stream`."""
        self._failure = error
        jitter, has_timeout = random.random(), self.timeout_s is not None  # noqa: S311 - spreads load, hides nothing
        return self._exchange.handle_broken_stream(error, jitter=jitter, has_timeout=has_timeout)

    def refuse_late(self, delay_s: float) -> None:
        """Raises DeadlineError if the time ends before a pause does."""
        if self.left_s is not None and delay_s >= self.left_s:
            raise self.error(f"the next attempt is due in {delay_s:.3g} s, which is beyond timeout_s")

    def error(self, reason: str = "no reply came") -> DeadlineError:
        done, count = self._exchange.done_count, self._exchange.part_count
        failure = f"; the stream broke because {self._failure.message}" if self._failure else ""
        return DeadlineError(
            f"{reason} ({done} of {count} parts are done; timeout_s, the longest time without a reply, is "
            f"{self.timeout_s:g}); raise timeout_s{failure}",
            code=grpc.StatusCode.DEADLINE_EXCEEDED,
        )


class _Watchdog:
    """A thread that cancels the stream whose reader waits beyond the limit: gRPC's `next` has no timeout."""

    def __init__(self, limit: TimeLimit) -> None:
        self._limit = limit
        self._stream: _Stream | None = None
        self._has_cancelled = False
        self._is_over = threading.Event()

    def start(self) -> None:
        """Starts the thread, if there is a limit; after Ctrl-C in here it may run, so `stop` is due."""
        if self._limit.timeout_s is not None:
            threading.Thread(target=self._run, name="unrolled-timeout", daemon=True).start()

    def stop(self) -> None:
        self._is_over.set()

    @contextmanager
    def watching(self, stream: "_Stream") -> Iterator[None]:
        """Raises DeadlineError if the block has lasted beyond the limit."""
        self._stream = stream
        try:
            yield
        except grpc.RpcError:
            if self._has_cancelled:
                raise self._limit.error() from None
            raise
        finally:
            self._stream = None

    def _run(self) -> None:
        while not self._is_over.wait(max(self._limit.left_s or 0.0, _CHECK_S)):
            stream = self._stream  # None while the caller does something else
            if stream is not None and not self._limit.left_s:
                self._has_cancelled = True
                stream.close()
                return


class BaseStream:
    """One ForwardStream call, opened by the first message; gRPC takes the messages from a queue."""

    def __init__(self, open_stream: OpenStream, requests: Any) -> None:
        self._open = open_stream
        self._requests = requests
        self._call: Any = None

    def send(self, data: bytes) -> None:
        """Queues a message for gRPC, and opens the call with the first."""
        self._requests.put_nowait(data)
        if self._call is None:
            self._call = self._open(self._outgoing())

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

    def __init__(self, open_stream: OpenStream) -> None:
        super().__init__(open_stream, queue.SimpleQueue())

    def receive(self) -> bytes | None:
        """Returns the next message; None at the stream's end."""
        return next(self._call, None)

    def finish(self) -> None:
        """Ends the requests and waits for the server's status."""
        self._requests.put_nowait(None)
        if self._call is not None:
            self._call.code()
