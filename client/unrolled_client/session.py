"""Texts that come piece by piece: each piece goes on where the one before ended.

The state travels with the calls and stays on no server. What a session decides waits for nothing and is
shared; the two sessions differ in how they wait.
"""

import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from unrolled_client._messages.arguments import invalid
from unrolled_client._messages.encoding import check_question
from unrolled_client._messages.initial_state import check_shapes, first_not_finite, parts_of
from unrolled_client._messages.words import as_words
from unrolled_client._transport.endpoint import as_timeout_s
from unrolled_client.errors import InvalidRequestError, ProtocolError
from unrolled_client.network import Network, NetworkOptions
from unrolled_client.results import Layout, Result, State, StateLike

_Forward = TypeVar("_Forward", bound=Callable[..., Any])


class _Texts(Generic[_Forward]):
    """Where every text of a session is, and what may be fed next."""

    def __init__(  # noqa: PLR0913 - what `session` is asked, by name
        self,
        forward: _Forward,
        *,
        hidden_size: int,
        seed: int | None,
        alphabet: str | None,
        state: StateLike | None,
        layout: Layout | None,
        timeout_s: float | None,
        options: NetworkOptions,
        call: Callable[..., Any],
    ) -> None:
        """See `Client.session`, which calls this.

        Args:
            forward: The client's.
            hidden_size: As for `forward`, and so are `seed` and `alphabet`.
            seed: See above.
            alphabet: See above.
            state: Where the texts start; None for zeros.
            layout: Refused unless it is "batch_first".
            timeout_s: Of each piece; None for the client's.
            options: The network's.
            call: The method that was called, for errors.
        """
        asked = check_question(
            "session",
            hidden_size=hidden_size,
            seed=seed,
            alphabet=alphabet,
            layout=layout,
            options=options,
            call=call,
        )
        _refuse_what_has_no_pieces(asked.network, asked.layout)
        self._forward = forward
        self._network = asked.network
        self._hidden_size = asked.hidden_size
        self._arguments = {
            "timeout_s": None if timeout_s is None else as_timeout_s("timeout_s", timeout_s),
            "hidden_size": hidden_size,
            "seed": seed,
            "alphabet": alphabet,
            **options,
            "return_final_state": True,
        }
        self._state = None if state is None else self._checked(state)
        self._fingerprint: str | None = None
        self._turn = threading.Lock()

    @property
    def state(self) -> State | None:
        """The state after the latest piece: a value that pickles, and that another session may start from.

        None before the first piece of a session that started from zeros. Its arrays cannot be written to.
        """
        return self._state

    def _checked(self, given: StateLike) -> State:
        state = _kept(parts_of(given, name="state"))
        batch = state.h.shape[1] if state.h.ndim > 1 else 1
        check_shapes(
            state,
            network=self._network,
            hidden_size=self._hidden_size,
            batch=batch,
            name="state",
            batch_name="texts",
        )
        return state

    @contextmanager
    def _piece(self, words: Iterable[str]) -> Iterator[dict[str, Any]]:
        """The arguments of the call that runs a piece; one piece at a time.

        Raises:
            TypeError: The words are no list of str.
            InvalidRequestError: Another number of texts, or another piece is on its way.
        """
        words = as_words(words)
        if not self._turn.acquire(blocking=False):
            raise InvalidRequestError(
                "another piece of this session is on its way; feed the next one after it"
            )
        try:
            self._refuse_other_batch(len(words))
            yield {"words": words, "initial_state": self._state, **self._arguments}
        finally:
            self._turn.release()

    def _refuse_other_batch(self, count: int) -> None:
        if self._state is not None and count != (batch := self._state.h.shape[1]):
            raise invalid(
                "words", f"words has {count} entries and this session {batch} texts; feed a piece of each"
            )

    def _taken(self, result: Result) -> Result:
        """Returns the result of a piece, after which the texts are one piece on.

        Raises:
            ProtocolError: Other bits would follow those before.
            InvalidRequestError: No piece can follow, because the states overflowed.
        """
        if self._fingerprint not in {None, result.fingerprint}:
            raise ProtocolError(
                f"this session's pieces so far were answered with the fingerprint {self._fingerprint}, this "
                f"one with {result.fingerprint}, whose bits may differ; feed it again if a server of the "
                "first is still there, or go on with the others in a new session from this one's state"
            )
        assert result.state is not None  # noqa: S101 - every piece asks for it
        _refuse_overflow(result.state)
        self._state, self._fingerprint = _kept(result.state), result.fingerprint
        return result


class Session(_Texts[Callable[..., Result]]):
    """Feeds texts piece by piece; `Client.session` makes it. It gives bit for bit what one piece would.

    One text stands at each place of the batch. Between pieces nothing of them is on a server, so any
    replica may answer the next one. It may be shared by threads that take turns.
    """

    def feed(self, words: Iterable[str]) -> Result:
        """Runs the next piece of every text.

        Args:
            words: A piece of one or more symbols for each text, of any length each: words[i] goes on where
                the i-th text is. The first call says how many texts there are, unless a state did.

        Returns:
            The states of this piece, and in `state` where every text is now. If the call fails, the texts
            are where they were, and the piece may be fed again.

        Raises:
            TypeError: `words` is no list of str.
            InvalidRequestError: Another number of texts, or another piece is on its way; or the states
                overflowed float32 in this piece, as those of "relu" with a large `spectral_radius` do.
            ProtocolError: A server of another fingerprint answered, whose bits may differ.
            UnrolledError: See `Client`.
        """
        with self._piece(words) as arguments:
            return self._taken(self._forward(**arguments))


class AsyncSession(_Texts[Callable[..., Awaitable[Result]]]):
    """The same as `Session` for coroutines; `AsyncClient.session` makes it."""

    async def feed(self, words: Iterable[str]) -> Result:
        """Runs the next piece of every text; see `Session.feed`.

        Raises:
            TypeError: `words` is no list of str.
            UnrolledError: As for `Session.feed`.
        """
        with self._piece(words) as arguments:
            return self._taken(await self._forward(**arguments))


def _refuse_what_has_no_pieces(network: Network, layout: Layout) -> None:
    """Refuses what a piece alone cannot give.

    Raises:
        InvalidRequestError: The network or the outputs need the whole text.
    """
    if network.bidirectional:
        raise invalid(
            "bidirectional",
            "bidirectional is True; the backward direction starts at the text's end, which a session does "
            "not have yet; feed whole texts to forward",
        )
    if layout != "batch_first":
        raise invalid(
            "layout", f"layout is {layout!r}; a session goes on along each word, which is batch_first"
        )
    if network.output in {"mean", "max"}:
        raise invalid(
            "output",
            f"output is {network.output!r}, which of a piece is not that of the text; ask for 'all' or "
            "'last' and pool yourself",
        )


def _refuse_overflow(state: State) -> None:
    """Refuses a state from which no piece can go on.

    Raises:
        InvalidRequestError: It has numbers that are not finite.
    """
    for name, array in (("h", state.h), ("c", state.c)):
        if array is not None and (place := first_not_finite(array)) is not None:
            raise InvalidRequestError(
                f"the states overflowed float32 in this piece: state.{name}{list(place)} is {array[place]} "
                'after it; ask for a smaller spectral_radius or nonlinearity="tanh"; the session is where '
                "it was before"
            )


def _kept(state: State) -> State:
    """A copy that nobody can write to, so that what is done to a result leaves the session alone."""
    return state._replace(h=_frozen(state.h), c=None if state.c is None else _frozen(state.c))


def _frozen(array: NDArray[np.float32]) -> NDArray[np.float32]:
    array = array.copy()
    array.flags.writeable = False
    return array
