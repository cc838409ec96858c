"""Sessions: texts that are fed piece by piece, each piece starting from the state after the one before.

The state travels with the calls; no server keeps it.
"""

import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from unrolled_client._messages.arguments import as_timeout_s, invalid
from unrolled_client._messages.request import Request
from unrolled_client._messages.validation import (
    as_state,
    check_request_without_words,
    check_shapes,
    first_not_finite,
)
from unrolled_client._messages.words import as_words
from unrolled_client.errors import InvalidRequestError, ProtocolError
from unrolled_client.network import Network, NetworkOptions
from unrolled_client.results import Layout, Result, State, StateLike

_Forward = TypeVar("_Forward", bound=Callable[..., Any])


class _BaseSession(Generic[_Forward]):
    """The state after the latest piece of every text, and the checks of the next piece."""

    def __init__(
        self,
        forward: _Forward,
        *,
        state: StateLike | None,
        timeout_s: float | None,
        options: NetworkOptions,
        call: Callable[..., Any],
        **arguments: Any,
    ) -> None:
        """Takes a client's `forward` and the arguments of `Client.session`; `call` is for error messages."""
        asked = check_request_without_words("session", options=options, call=call, **arguments)
        _refuse_whole_text_options(asked.network, asked.layout)
        self._forward = forward
        self._arguments = {
            "timeout_s": None if timeout_s is None else as_timeout_s("timeout_s", timeout_s),
            **arguments,
            **options,
            "return_final_state": True,
        }
        self._state = None if state is None else _read_only(_check_state(state, asked))
        self._fingerprint: str | None = None
        self._lock = threading.Lock()

    @property
    def state(self) -> State | None:
        """The state after the latest piece, with read-only arrays; None at the start from zeros."""
        return self._state

    @contextmanager
    def _next_piece(self, words: Iterable[str]) -> Iterator[dict[str, Any]]:
        """Yields the arguments of the call that runs the piece."""
        words = as_words(words)
        if not self._lock.acquire(blocking=False):
            raise InvalidRequestError(
                "another piece of this session is on its way; feed the next one after it"
            )
        try:
            self._refuse_other_batch(len(words))
            yield {"words": words, "initial_state": self._state, **self._arguments}
        finally:
            self._lock.release()

    def _refuse_other_batch(self, count: int) -> None:
        if self._state is not None and count != (batch := self._state.h.shape[1]):
            raise invalid(
                "words", f"words has {count} entries and this session {batch} texts; feed a piece of each"
            )

    def _advance(self, result: Result) -> Result:
        """Stores the state after a piece, and returns the piece's result."""
        if self._fingerprint not in {None, result.fingerprint}:
            raise ProtocolError(
                f"this session's pieces so far were answered with the fingerprint {self._fingerprint}, this "
                f"one with {result.fingerprint}, whose bits may differ; feed it again if a server of the "
                "first is still there, or go on with the others in a new session from this one's state"
            )
        assert result.state is not None  # noqa: S101 - every piece asks for it
        _refuse_overflow(result.state)
        self._state, self._fingerprint = _read_only(result.state), result.fingerprint
        return result


class Session(_BaseSession[Callable[..., Result]]):
    """Feeds texts piece by piece, with the bits that one piece would give; made by `Client.session`.

    Each position of the batch is one text. No server keeps the texts or the state, so any replica may answer
    the next piece. Threads may share a session if they take turns.
    """

    def feed(self, words: Iterable[str]) -> Result:
        """Runs the next piece of every text.

        words[i], of one or more symbols, continues the i-th text. The first piece sets the number of texts,
        unless the initial state did. Returns the outputs of this piece, and in `state` the state after it. If
        the call fails, the session's state is unchanged, and the piece may be fed again.

        Raises:
            InvalidRequestError: The number of texts is wrong, or another piece is running; or the states
                overflowed float32 in this piece, as those of "relu" with a large `spectral_radius` do.
            ProtocolError: A server with another fingerprint answered, whose bits may differ.
            UnrolledError: See `Client`.
        """
        with self._next_piece(words) as arguments:
            return self._advance(self._forward(**arguments))


class AsyncSession(_BaseSession[Callable[..., Awaitable[Result]]]):
    """A `Session` for coroutines; made by `AsyncClient.session`."""

    async def feed(self, words: Iterable[str]) -> Result:
        """As `Session.feed`, asynchronously."""
        with self._next_piece(words) as arguments:
            return self._advance(await self._forward(**arguments))


def _check_state(given: StateLike, request: Request) -> State:
    """Returns the given initial state, which sets the number of texts."""
    state = as_state(given, name="state")
    batch = state.h.shape[1] if state.h.ndim > 1 else 1
    check_shapes(state, request=request, batch=batch, name="state", batch_name="texts")
    return state


def _refuse_whole_text_options(network: Network, layout: Layout) -> None:
    """Refuses options that need the whole text."""
    if network.bidirectional:
        raise invalid(
            "bidirectional",
            "bidirectional is True; the backward direction starts at the text's end, which a session does "
            "not have yet; feed whole texts to forward",
        )
    if network.truncate:
        message = "truncate is True; a session feeds texts of any length piece by piece; leave it out"
        raise invalid("truncate", message)
    if layout != "batch_first":
        message = f"layout is {layout!r}; a session goes on along each word, which is batch_first"
        raise invalid("layout", message)
    if network.output in {"mean", "max"}:
        raise invalid(
            "output",
            f"output is {network.output!r}, which of a piece is not that of the text; ask for 'all' or "
            "'last' and pool yourself",
        )


def _refuse_overflow(state: State) -> None:
    """Refuses a state with infinite numbers or NaN."""
    for name, array in (("h", state.h), ("c", state.c)):
        if array is not None and (place := first_not_finite(array)) is not None:
            raise InvalidRequestError(
                f"the states overflowed float32 in this piece: state.{name}{list(place)} is {array[place]} "
                'after it; ask for a smaller spectral_radius or nonlinearity="tanh"; the session is where '
                "it was before"
            )


def _read_only(state: State) -> State:
    """Returns a read-only copy, so that changes of a result do not change the session."""
    state = state._replace(h=state.h.copy(), c=None if state.c is None else state.c.copy())
    for array in (state.h, state.c):
        if array is not None:
            array.flags.writeable = False
    return state
