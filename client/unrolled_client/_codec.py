"""Arguments to a request's bytes; nothing here waits or knows a connection.

What the caller got wrong in Python's terms (types, ranges of the wire's integers, text that is not Unicode)
is found here, where it can be named as the caller wrote it. Everything else is for the server to judge.
"""

import operator
from collections.abc import Iterable
from dataclasses import dataclass, replace

from unrolled.v1 import forward_pb2 as pb
from unrolled.v1.wire import state_field

from unrolled_client._network import DEFAULT_NETWORK, Network, NetworkOptions, check_network, invalid
from unrolled_client.result import Layout, State, StateLike

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
        seed: Any int64.
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


def derive_alphabet(words: Iterable[str]) -> str:
    """The distinct code points of all words, by first appearance.

    >>> derive_alphabet(["hello", "eolll", "lleel"])
    'helo'
    """
    return "".join(dict.fromkeys("".join(words)))


def check_request(  # noqa: PLR0913 - what a call is asked, by name
    words: Iterable[str],
    *,
    hidden_size: int,
    seed: int,
    alphabet: str | None,
    layout: Layout,
    options: NetworkOptions | None = None,
    initial_state: StateLike | None = None,
) -> Request:
    """The arguments of one call; the alphabet is derived if None or empty.

    Raises:
        TypeError: An argument has the wrong type, such as one str for `words`.
        InvalidRequestError: A value that the contract cannot carry, or a state of another shape.
    """
    words = listed(words)
    network = check_network(options) if options else DEFAULT_NETWORK
    check_alphabet(alphabet, network)
    if layout not in _LAYOUTS:
        raise invalid("layout", f"layout is {layout!r}; it must be one of {', '.join(_LAYOUTS)}")
    request = Request(
        words=words,
        lengths=list(map(network.symbol_count, words)),
        hidden_size=as_integer("hidden_size", hidden_size, bits=32),
        seed=as_integer("seed", seed, bits=64),
        alphabet=alphabet or ("" if network.vectors else derive_alphabet(words)),
        layout=layout,
        network=network,
    )
    if initial_state is None:
        return request
    from unrolled_client._initial_state import as_state  # noqa: PLC0415 - most processes never give one

    return replace(request, initial_state=as_state(initial_state, request=request))


def check_alphabet(alphabet: str | None, network: Network) -> None:
    """Whether an alphabet may be given with this network.

    Raises:
        TypeError: It is no str.
        InvalidRequestError: Word vectors leave no room for one.
    """
    if alphabet is None:
        return
    if not isinstance(alphabet, str):
        raise TypeError(f"alphabet is {type(alphabet).__name__}; pass one str, such as 'helo'")
    if alphabet and network.vectors is not None:
        raise invalid(
            "alphabet",
            f"alphabet is {alphabet!r:.40} and vectors is {network.vectors!r}; with vectors the symbols are "
            "the words of sentences, so leave the alphabet out",
        )


def require_alphabet(alphabet: str | None, network: Network, *, what: str) -> None:
    """Refuses calls whose words come bit by bit, so that each bit would derive an alphabet of its own.

    Raises:
        TypeError: It is no str.
        InvalidRequestError: There is none, or word vectors leave no room for one.
    """
    check_alphabet(alphabet, network)
    if not alphabet and network.vectors is None:
        message = f"{what} needs an alphabet; derive_alphabet(words) makes one of all words"
        raise invalid("alphabet", message)


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
        hidden_size=request.hidden_size, seed=request.seed, layout=_LAYOUTS[request.layout], id=request_id
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


def listed(words: Iterable[str]) -> list[str]:
    """The words, as a list.

    Raises:
        TypeError: They are one str, or not all of them are str.
    """
    if isinstance(words, str | bytes):
        raise TypeError(f"words is one {type(words).__name__}; pass a list of words, such as [{words!r:.40}]")
    words = list(words)
    for index, word in enumerate(words):
        if not isinstance(word, str):
            raise TypeError(f"words[{index}] is {type(word).__name__}; every word is a str")
    return words


def as_integer(name: str, value: int, *, bits: int) -> int:
    """`value` if the contract's field can hold it, so that what cannot travel is refused by name.

    Raises:
        TypeError: It is no integer.
        InvalidRequestError: It is too large.
    """
    number = operator.index(value)
    bound = 2 ** (bits - 1)
    if not -bound <= number < bound:
        raise invalid(name, f"{name} is {number}; it must be from {-bound} to {bound - 1}")
    return number
