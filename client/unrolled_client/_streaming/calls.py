"""The calls that go over a stream, for both clients: one in parts, `map`'s batches, `sweep`'s networks."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cached_property, partial
from itertools import count, product
from typing import Any

from unrolled_client._messages.arguments import as_bool, as_choice, as_integer, as_seed, invalid
from unrolled_client._messages.encoding import (
    EncodedRequest,
    Request,
    check_question,
    check_request,
    encode,
    refuse_surrogates,
)
from unrolled_client._messages.words import as_list, as_words, refuse_other_iterables
from unrolled_client._streaming.exchange import Exchange
from unrolled_client._streaming.parts import InParts
from unrolled_client._streaming.sizing import (
    DEFAULT_MAX_IN_FLIGHT,
    Assembly,
    Whole,
    assemble,
    distinct_state_count,
    is_bulk,
    prefers_distinct,
)
from unrolled_client.errors import UnrolledError
from unrolled_client.network import NetworkOptions
from unrolled_client.results import Layout, Limits


def exchange_for_parts(request: Request, *, limits: Limits) -> Exchange[Request]:
    """The exchange behind a call that is too large for one request."""
    return Exchange(
        iter([request]),
        assemble=partial(assemble, limits=limits),
        network_key=lambda: request.network_key,
        max_in_flight=1,
    )


def exchange_for_map(  # noqa: PLR0913 - what `map` is asked, by name
    batches: Iterable[Iterable[str]],
    *,
    hidden_size: int,
    seed: int | None,
    alphabet: str | None,
    layout: Layout | None,
    options: NetworkOptions,
    is_ordered: bool | None,
    max_in_flight: int | None,
    limits: Callable[[], Limits],
    call: Callable[..., Any],
) -> Exchange[Iterable[str]]:
    """Returns the exchange behind the clients' `map`; the first batch asks `limits` for the server's.

    The others are the arguments of `Client.map`; `call` is the method that took them, for errors.

    Raises:
        TypeError: An argument has the wrong type.
        InvalidRequestError: No alphabet and no word vectors, or a value that cannot be.
    """
    request = check_question(
        "map",
        hidden_size=hidden_size,
        seed=seed,
        alphabet=alphabet,
        layout=layout,
        options=options,
        call=call,
    )
    indices = count()

    def assembled(words: Iterable[str]) -> Assembly:
        listed = as_words(words, name=f"batches[{next(indices)}]")
        return assemble(request.with_words(listed), limits=limits())

    return Exchange(
        as_batches(batches),
        assemble=assembled,
        network_key=lambda: request.network_key,
        is_ordered=as_bool("ordered", is_ordered, default=True),
        max_in_flight=_as_max_in_flight(max_in_flight),
    )


def as_batches(batches: Iterable[Iterable[str]]) -> Iterator[Iterable[str]]:
    """Returns an iterator over batches, of which each is a list of words.

    Raises:
        TypeError: They are no iterable, or one of something else.
    """
    refuse_other_iterables("batches", batches, items="lists of words")
    return iter(batches.to_pylist() if hasattr(batches, "to_pylist") else batches)


def is_raising(on_error: str | None) -> bool:
    """Returns whether `map` ends with the first batch that fails.

    Raises:
        TypeError: `on_error` is no text.
        InvalidRequestError: It is neither "raise" nor "return".
    """
    return on_error is None or as_choice("on_error", on_error, ("raise", "return")) == "raise"


def exchange_for_sweep(  # noqa: PLR0913 - what `sweep` is asked, by name
    words: Iterable[str],
    *,
    hidden_sizes: Iterable[int],
    seeds: Iterable[int],
    alphabet: str | None,
    layout: Layout | None,
    options: NetworkOptions,
    max_in_flight: int | None,
    limits: Callable[[], Limits],
    call: Callable[..., Any],
) -> Exchange[tuple[int, int]]:
    """Returns the exchange behind the clients' `sweep`: the words go with a stream's first request only.

    The stream goes where its first network belongs, so that the same sweep meets its states again.

    Raises:
        TypeError: An argument has the wrong type.
        InvalidRequestError: No network is asked for, or a value that the contract cannot carry.
    """
    sizes = _checked("hidden_sizes", hidden_sizes, as_integer)
    numbers = _checked("seeds", seeds, as_seed)
    request = check_request(
        words,
        hidden_size=sizes[0],
        seed=numbers[0],
        alphabet=alphabet,
        layout=layout,
        options=options,
        call=call,
    )
    refuse_surrogates(request.words, request.alphabet)
    shared = _SharedWords(request)

    def assembled(network: tuple[int, int]) -> Assembly:
        hidden_size, seed = network
        asked = replace(request, hidden_size=hidden_size, seed=seed)
        known_limits = limits()
        if is_bulk(asked, known_limits):
            return _NetworkInParts(asked, shared=shared, limits=known_limits)
        return _Network(asked, shared=shared)

    return Exchange(
        product(sizes, numbers),
        assemble=assembled,
        network_key=lambda: request.network_key,
        max_in_flight=_as_max_in_flight(max_in_flight),
        on_broken=shared.forget,
        may_mend=shared.are_missed,
    )


def _as_max_in_flight(value: int | None) -> int:
    name = "max_in_flight"
    return DEFAULT_MAX_IN_FLIGHT if value is None else as_integer(name, value, low=1)


def _checked(name: str, values: Iterable[int], check: Callable[[str, int], int]) -> list[int]:
    """Returns the ints that `hidden_sizes` or `seeds` lists.

    Raises:
        TypeError: It lists no ints.
        InvalidRequestError: It is empty, or has an int out of range.
    """
    numbers = [check(f"{name}[{at}]", value) for at, value in enumerate(as_list(name, values, items="ints"))]
    if not numbers:
        raise invalid(name, f"{name} is empty; name at least one")
    return numbers


class _SharedWords:
    """The words of all networks of a sweep, and whether the stream's latest words are these."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._are_on_stream = False
        self._are_kept = True

    @cached_property
    def state_count(self) -> int:
        """Their distinct states, of which each network has as many."""
        return distinct_state_count(self._request)

    def may_be_left_out(self) -> bool:
        """Whether the next request needs no words; if it does it is taken to carry them."""
        is_there, self._are_on_stream = self._are_on_stream, True
        return is_there and self._are_kept

    def forget(self) -> None:
        """Says that the stream's latest words are others, or that the next request opens another stream."""
        self._are_on_stream = False

    def are_missed(self, error: UnrolledError) -> bool:
        """Whether a server refused a request because it has no memory left for words; then all carry them."""
        is_missing = any(violation.field == "same_words" for violation in error.violations)
        self._are_kept = self._are_kept and not is_missing
        return is_missing


class _Network(Whole):
    """One network of a sweep, as one request."""

    def __init__(self, request: Request, *, shared: _SharedWords) -> None:
        super().__init__(request)
        self._shared = shared

    def encode(self, at: int, *, request_id: str) -> EncodedRequest:  # noqa: ARG002 - Assembly's signature
        """See Assembly; the words travel if the stream does not have them."""
        is_distinct = prefers_distinct(self._request, count_states=lambda: self._shared.state_count)
        return encode(
            self._request,
            is_distinct=is_distinct,
            request_id=request_id,
            is_same_words=self._shared.may_be_left_out(),
        )


class _NetworkInParts(InParts):
    """One network of a sweep, in parts, whose words are then the stream's latest."""

    def __init__(self, request: Request, *, shared: _SharedWords, limits: Limits) -> None:
        super().__init__(request, limits=limits)
        self._shared = shared

    def encode(self, at: int, *, request_id: str) -> EncodedRequest:
        """See Assembly."""
        self._shared.forget()
        return super().encode(at, request_id=request_id)
