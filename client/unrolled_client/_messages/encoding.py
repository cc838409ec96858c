"""Checks a call's arguments and encodes them as a request; nothing here waits or knows a connection.

What the caller got wrong in Python's terms (types, ranges of the wire's integers, text that is not Unicode)
is found here, where it can be named as the caller wrote it. Everything else is for the server to judge.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, cast

from unrolled.v1 import forward_pb2 as pb
from unrolled.v1.wire import state_field

from unrolled_client._messages.arguments import as_choice, as_integer, as_seed, invalid, wrong_type
from unrolled_client._messages.words import alphabet_of, as_words
from unrolled_client.network import DEFAULT_NETWORK, Network, NetworkOptions, check_network
from unrolled_client.results import Layout, State, StateLike

SERVER_INFO_REQUEST = b""
"""A GetServerInfoRequest, which has no fields."""

_LAYOUTS: dict[Layout, pb.Layout] = {
    "batch_first": pb.LAYOUT_BATCH_FIRST,
    "seq_first": pb.LAYOUT_SEQ_FIRST,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What one call asks for, in types that the contract can carry.

    Attributes:
        words: In the order of the result.
        lengths: The symbols of each word.
        hidden_size: Units of each layer and direction.
        seed: As given; any that torch.manual_seed takes.
        alphabet: The symbols in one-hot order, given or derived; empty with word vectors.
        layout: Along which axis the network runs.
        network: Of which kind it is, and what is asked of it.
        initial_state: Where each sequence starts; None for zeros.
    """

    words: list[str]
    lengths: list[int]
    hidden_size: int
    seed: int
    alphabet: str
    layout: Layout
    network: Network = DEFAULT_NETWORK
    initial_state: State | None = None

    @property
    def hidden(self) -> int:
        """The width of the states."""
        return (self.network.proj_size or self.hidden_size) * self.network.directions

    @property
    def batch(self) -> int:
        """Sequences, torch's batch: the words, or with layout seq_first the letter positions."""
        return len(self.words) if self.layout == "batch_first" else max(self.lengths, default=0)

    @property
    def network_key(self) -> str:
        """The same for all requests of one network, whose states one replica should know."""
        return self.network.key(self.hidden_size, seed=self.seed, symbol_count=len(self.alphabet))

    def with_words(self, words: list[str]) -> "Request":
        """The same question about other words."""
        return replace(self, words=words, lengths=list(map(self.network.symbol_count, words)))


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedRequest:
    """A request's bytes, and what its reply must fit.

    Attributes:
        data: A serialised ForwardRequest.
        request: What it asks.
        is_distinct: Whether the reply is to send each distinct state once.
    """

    data: bytes
    request: Request
    is_distinct: bool = False


def check_request(  # noqa: PLR0913 - what a call is asked, by name
    words: Iterable[str],
    *,
    hidden_size: int,
    seed: int | None = None,
    alphabet: str | None = None,
    layout: Layout | None = None,
    options: NetworkOptions | None = None,
    initial_state: StateLike | None = None,
    call: Callable[..., Any] | None = None,
) -> Request:
    """Returns the arguments of one call, checked; the alphabet is derived if None or empty.

    They are those of `Client.forward`; `call` is the method that took them, for errors.

    Raises:
        TypeError: An argument has the wrong type, such as one str for `words`.
        InvalidRequestError: A value that the contract cannot carry, or a state of another shape.
    """
    words = as_words(words)
    network = check_network(options, call=call)
    check_alphabet(alphabet, network)
    request = Request(
        words=words,
        lengths=list(map(network.symbol_count, words)),
        hidden_size=as_integer("hidden_size", hidden_size),
        seed=0 if seed is None else as_seed("seed", seed),
        alphabet=alphabet or ("" if network.vectors else alphabet_of(words)),
        layout=cast("Layout", as_choice("layout", "batch_first" if layout is None else layout, _LAYOUTS)),
        network=network,
    )
    if initial_state is None:
        return request
    from unrolled_client._messages.initial_state import as_state  # noqa: PLC0415 - most processes never give one

    return replace(request, initial_state=as_state(initial_state, request=request))


def check_question(  # noqa: PLR0913 - what a call is asked, by name
    what: str,
    *,
    hidden_size: int,
    seed: int | None,
    alphabet: str | None,
    layout: Layout | None,
    options: NetworkOptions,
    call: Callable[..., Any],
) -> Request:
    """Returns the arguments of calls whose words come bit by bit, as a request without words.

    Raises:
        TypeError: An argument has the wrong type.
        InvalidRequestError: A value that the contract cannot carry, or neither an alphabet nor word vectors:
            each bit would derive an alphabet of its own.
    """
    request = check_request(
        [], hidden_size=hidden_size, seed=seed, alphabet=alphabet, layout=layout, options=options, call=call
    )
    if not request.alphabet and request.network.vectors is None:
        message = f"{what} needs an alphabet; derive_alphabet(words) makes one of all words"
        raise invalid("alphabet", message)
    return request


def check_alphabet(alphabet: str | None, network: Network) -> None:
    """Refuses an alphabet that is no text, or that word vectors leave no room for.

    Raises:
        TypeError: It is no str.
        InvalidRequestError: There are word vectors.
    """
    if alphabet is None:
        return
    if not isinstance(alphabet, str):
        raise wrong_type("alphabet", alphabet, "pass one str, such as 'helo'")
    if alphabet and network.vectors is not None:
        raise invalid(
            "alphabet",
            f"alphabet is {alphabet!r:.40} and vectors is {network.vectors!r}; with vectors the symbols are "
            "the words of sentences, so leave the alphabet out",
        )


def encode(
    request: Request, *, is_distinct: bool = False, request_id: str = "", is_same_words: bool = False
) -> EncodedRequest:
    """The bytes of a request; the alphabet travels with the words.

    Args:
        request: What to ask.
        is_distinct: Whether the reply is to send each distinct state once.
        request_id: What the reply will repeat.
        is_same_words: Leaves words and alphabet out: the stream has them from a request before.

    Raises:
        InvalidRequestError: A text that the contract cannot carry.
    """
    message = pb.ForwardRequest(
        hidden_size=request.hidden_size,
        seed=_as_int64(request.seed),
        layout=_LAYOUTS[request.layout],
        id=request_id,
    )
    if request.network is not DEFAULT_NETWORK:
        request.network.write(message)
    if is_distinct:
        message.reply_form = pb.REPLY_FORM_DISTINCT
    if is_same_words:
        message.same_words = True
    else:
        _write_words(request, message)
    # The state stands first, because an id that ends its message is split off without a parser.
    data = _initial_state_field(request.initial_state) + message.SerializeToString()
    return EncodedRequest(data=data, request=request, is_distinct=is_distinct)


def _as_int64(seed: int) -> int:
    """Returns the int64 of the same 64 bits, which torch takes for the same seed."""
    return seed - 2**64 if seed >= 2**63 else seed


def _write_words(request: Request, message: pb.ForwardRequest) -> None:
    try:
        message.words.extend(request.words)
        message.alphabet = request.alphabet
    except UnicodeEncodeError:
        refuse_surrogates(request.words, request.alphabet)


def _initial_state_field(state: State | None) -> bytes:
    if state is None:
        return b""
    number = pb.ForwardRequest.INITIAL_STATE_FIELD_NUMBER
    return state_field(number, h=state.h, c=state.c, network_digest=state.network_digest)


def refuse_surrogates(words: list[str], alphabet: str) -> None:
    """Names the first text with a lone surrogate, which UTF-8 and so the wire cannot carry.

    Raises:
        InvalidRequestError: There is one.
    """
    try:
        "".join([*words, alphabet]).encode()
    except UnicodeEncodeError:
        names = [*(f"words[{index}]" for index in range(len(words))), "alphabet"]
        texts = [*words, alphabet]
        at = next(i for i, text in enumerate(texts) if any("\ud800" <= symbol <= "\udfff" for symbol in text))
        raise invalid(
            names[at], f"{names[at]} is {texts[at]!r}: a lone surrogate is no character; decode the text anew"
        ) from None
