"""The calls that go over a stream: one in parts, `map`'s batches, `sweep`'s networks.

It is a file of its own because both clients make the same exchanges and only drive them differently.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property, partial
from itertools import product

from unrolled_client._codec import (
    EncodedRequest,
    Request,
    as_integer,
    check_request,
    encode,
    refuse_surrogates,
    require_alphabet,
)
from unrolled_client._exchange import Exchange
from unrolled_client._network import NetworkOptions, check_network, invalid
from unrolled_client._parts import InParts
from unrolled_client.bulk import (
    Assembly,
    Whole,
    assemble,
    distinct_state_count,
    is_bulk,
    prefers_distinct,
)
from unrolled_client.errors import UnrolledError
from unrolled_client.result import Layout, Limits


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
    seed: int,
    alphabet: str | None,
    layout: Layout,
    options: NetworkOptions,
    is_ordered: bool,
    max_in_flight: int,
    limits: Callable[[], Limits],
) -> Exchange[Iterable[str]]:
    """The exchange behind the clients' `map`; `limits` gives the server's when the first batch is taken.

    Raises:
        TypeError: There is no such option.
        InvalidRequestError: No alphabet and no word vectors, or a `max_in_flight` below 1.
    """
    network = check_network(options)
    require_alphabet(alphabet, network, what="map")

    def assembled(words: Iterable[str]) -> Assembly:
        request = check_request(
            words, hidden_size=hidden_size, seed=seed, alphabet=alphabet, layout=layout, options=options
        )
        return assemble(request, limits=limits())

    return Exchange(
        iter(batches),
        assemble=assembled,
        network_key=lambda: network.key(hidden_size, seed=seed, symbol_count=len(alphabet or "")),
        is_ordered=is_ordered,
        max_in_flight=max_in_flight,
    )


def exchange_for_sweep(  # noqa: PLR0913 - what `sweep` is asked, by name
    words: Iterable[str],
    *,
    hidden_sizes: Iterable[int],
    seeds: Iterable[int],
    alphabet: str | None,
    layout: Layout,
    options: NetworkOptions,
    max_in_flight: int,
    limits: Callable[[], Limits],
) -> Exchange[tuple[int, int]]:
    """The exchange behind the clients' `sweep`: the words go with the first request of a stream only.

    The stream goes where its first network belongs, so that the same sweep meets its states again.

    Raises:
        TypeError: An argument has the wrong type.
        InvalidRequestError: No network is asked for, or a value that the contract cannot carry.
    """
    sizes = _integers("hidden_sizes", hidden_sizes, bits=32)
    numbers = _integers("seeds", seeds, bits=64)
    request = check_request(
        words, hidden_size=sizes[0], seed=numbers[0], alphabet=alphabet, layout=layout, options=options
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
        max_in_flight=max_in_flight,
        on_broken=shared.forget,
        may_mend=shared.are_missed,
    )


def _integers(name: str, values: Iterable[int], *, bits: int) -> Sequence[int]:
    if isinstance(values, int):
        raise TypeError(f"{name} is one int; pass a list of them, such as [{values}]")
    numbers = [as_integer(f"{name}[{at}]", value, bits=bits) for at, value in enumerate(values)]
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
