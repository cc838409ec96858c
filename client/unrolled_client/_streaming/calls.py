"""The calls that travel over a stream: a large `forward`, `map` and `sweep`, for both clients."""

from collections.abc import Callable, Iterable, Sized
from dataclasses import replace
from functools import cached_property, partial
from itertools import count, product
from typing import Any

from unrolled.v1.wire import SplitReply

from unrolled_client._messages.arguments import as_bool, as_choice, as_integer, as_seed, invalid
from unrolled_client._messages.decoding import decode_parsed
from unrolled_client._messages.request import EncodedRequest, Request, encode
from unrolled_client._messages.validation import check_request, check_request_without_words
from unrolled_client._messages.words import as_list, as_words, refuse_other_iterables, refuse_surrogates
from unrolled_client._streaming import sizing
from unrolled_client._streaming.exchange import Assembly, Error, Exchange
from unrolled_client._streaming.parts import InParts
from unrolled_client._streaming.sizing import is_bulk
from unrolled_client.errors import UnrolledError
from unrolled_client.results import Limits, Result


def exchange_for_parts(
    request: Request, *, limits: Limits, advance: Callable[[int], None]
) -> Exchange[Request]:
    """Returns the exchange of a call that `is_bulk`; `advance` gets the number of words in each part."""
    in_parts, key = partial(assemble, limits=limits, advance=advance), lambda: request.network_key
    return Exchange(iter([request]), assemble=in_parts, network_key=key, max_in_flight=1)


def assemble(
    request: Request, *, limits: Limits, advance: Callable[[int], None] = lambda _count: None
) -> Assembly:
    """Returns a call as one request, or in parts if one would be too large."""
    refuse_surrogates(request.words, request.alphabet)
    return InParts(request, limits=limits, advance=advance) if is_bulk(request, limits) else Whole(request)


def exchange_for_map(
    batches: Iterable[Iterable[str]],
    *,
    is_ordered: bool | None,
    max_in_flight: int | None,
    limits: Callable[[], Limits],
    call: Callable[..., Any],
    **arguments: Any,
) -> Exchange[Iterable[str]]:
    """Returns the exchange of `Client.map`, whose other arguments are in `arguments`.

    Each batch calls `limits` for the server's limits; `call` is the method that took the arguments.
    """
    request = check_request_without_words("map", call=call, **arguments)
    refuse_other_iterables("batches", batches, items="lists of words")
    indices = count()

    def assemble_batch(words: Iterable[str]) -> Assembly:
        listed = as_words(words, name=f"batches[{next(indices)}]")
        batch, known_limits = request.with_words(listed), limits()
        if batch.network.truncate:
            batch = batch.truncated(known_limits.max_word_length)
        return assemble(batch, limits=known_limits)

    return Exchange(
        iter(batches.to_pylist() if hasattr(batches, "to_pylist") else batches),
        assemble=assemble_batch,
        network_key=lambda: request.network_key,
        is_ordered=as_bool("ordered", is_ordered, default=True),
        max_in_flight=_as_max_in_flight(max_in_flight),
        batch_count=len(batches) if isinstance(batches, Sized) else None,
    )


def is_raising(on_error: str | None) -> bool:
    """Returns whether `map` ends with the first batch that fails."""
    return on_error is None or as_choice("on_error", on_error, ("raise", "return")) == "raise"


def exchange_for_sweep(  # noqa: PLR0913 - the arguments of `sweep`, by name
    words: Iterable[str],
    *,
    hidden_sizes: Iterable[int],
    seeds: Iterable[int],
    max_in_flight: int | None,
    limits: Callable[[], Limits],
    note_alphabet: Callable[[Request], None],
    call: Callable[..., Any],
    **arguments: Any,
) -> Exchange[tuple[int, int]]:
    """Returns the exchange of `Client.sweep`: only a stream's first request carries the words.

    The stream goes to the replica of the first network, so that the same sweep meets its cached states.
    """
    sizes = _as_numbers("hidden_sizes", hidden_sizes, as_integer)
    numbers = _as_numbers("seeds", seeds, as_seed)
    request = check_request(words, hidden_size=sizes[0], seed=numbers[0], call=call, **arguments)
    note_alphabet(request)
    refuse_surrogates(request.words, request.alphabet)
    shared = _SharedWords(request)

    def assemble_network(network: tuple[int, int]) -> Assembly:
        hidden_size, seed = network
        known_limits = limits()
        asked = replace(shared.request_within(known_limits), hidden_size=hidden_size, seed=seed)
        if is_bulk(asked, known_limits):
            return _SweepInParts(asked, shared=shared, limits=known_limits)
        return _SweepWhole(asked, shared=shared)

    return Exchange(
        product(sizes, numbers),
        assemble=assemble_network,
        network_key=lambda: request.network_key,
        max_in_flight=_as_max_in_flight(max_in_flight),
        batch_count=len(sizes) * len(numbers),
        on_broken=shared.forget,
        can_resend=shared.was_refused,
    )


def _as_max_in_flight(value: int | None) -> int:
    return sizing.DEFAULT_MAX_IN_FLIGHT if value is None else as_integer("max_in_flight", value, low=1)


def _as_numbers(name: str, values: Iterable[int], check: Callable[[str, int], int]) -> list[int]:
    """Returns the ints that `hidden_sizes` or `seeds` lists."""
    numbers = [check(f"{name}[{at}]", value) for at, value in enumerate(as_list(name, values, items="ints"))]
    if not numbers:
        raise invalid(name, f"{name} is empty; name at least one")
    return numbers


class Whole:
    """Implements Assembly with one request."""

    part_count = 1

    def __init__(self, request: Request) -> None:
        self._request = request
        self._result: Result | None = None

    def encode(self, at: int, *, request_id: str) -> EncodedRequest:  # noqa: ARG002 - Assembly's signature
        return sizing.encode_whole(self._request, request_id=request_id)

    def reply_bytes(self, at: int) -> int:  # noqa: ARG002 - Assembly's signature
        return sizing.message_bytes(self._request)

    def place(self, at: int, reply: SplitReply, *, request: EncodedRequest) -> None:  # noqa: ARG002 - Assembly's signature
        self._result = decode_parsed(reply, request)

    def renamed(self, at: int, error: Error) -> Error:  # noqa: ARG002 - Assembly's signature
        return error  # its indices are the caller's

    def result(self) -> Result:
        assert self._result is not None  # noqa: S101 - the contract of Assembly
        return self._result


class _SharedWords:
    """The words of all networks of a sweep, and whether the server still has them from this stream."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._are_on_stream = False
        self._are_stored = not request.is_local  # this process keeps none

    def request_within(self, limits: Limits) -> Request:
        """Returns the request with words that are cut, if it asks for that, once for all networks."""
        if self._request.network.truncate:
            self._request = self._request.truncated(limits.max_word_length)
        return self._request

    @cached_property
    def state_count(self) -> int:
        """Number of their distinct states, the same for each network."""
        return sizing.distinct_state_count(self._request)

    def can_omit(self) -> bool:
        """Returns whether the next request may omit the words; otherwise it has to carry them."""
        is_there, self._are_on_stream = self._are_on_stream, True
        return is_there and self._are_stored

    def forget(self) -> None:
        """Records that the next request has to carry the words."""
        self._are_on_stream = False

    def was_refused(self, error: UnrolledError) -> bool:
        """Returns whether the server had no memory to store the words; all requests then carry them."""
        is_missing = any(violation.field == "same_words" for violation in error.violations)
        self._are_stored = self._are_stored and not is_missing
        return is_missing


class _SweepWhole(Whole):
    """One network of a sweep, as one request."""

    def __init__(self, request: Request, *, shared: _SharedWords) -> None:
        super().__init__(request)
        self._shared = shared

    def encode(self, at: int, *, request_id: str) -> EncodedRequest:  # noqa: ARG002 - Assembly's signature
        is_distinct = sizing.prefers_distinct(self._request, count_states=lambda: self._shared.state_count)
        is_same_words = self._shared.can_omit()
        return encode(
            self._request, is_distinct=is_distinct, request_id=request_id, is_same_words=is_same_words
        )


class _SweepInParts(InParts):
    """One network of a sweep, in parts, whose words replace the shared ones on the server."""

    def __init__(self, request: Request, *, shared: _SharedWords, limits: Limits) -> None:
        super().__init__(request, limits=limits)
        self._shared = shared

    def encode(self, at: int, *, request_id: str) -> EncodedRequest:
        self._shared.forget()
        return super().encode(at, request_id=request_id)
