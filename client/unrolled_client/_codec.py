"""Arguments to a request's bytes; nothing here waits or knows a connection.

What the caller got wrong in Python's terms (types, ranges of the wire's integers, text that is not Unicode)
is found here, where it can be named as the caller wrote it. Everything else is for the server to judge.
"""

import operator
from collections.abc import Iterable
from dataclasses import dataclass, replace

from unrolled.v1 import forward_pb2 as pb

from unrolled_client._network import DEFAULT_NETWORK, Network, NetworkOptions, check_network
from unrolled_client.errors import FieldViolation, InvalidRequestError
from unrolled_client.result import Layout

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
        hidden_size: Units of each layer.
        seed: Any int64.
        alphabet: The symbols in one-hot order, given or derived.
        layout: Along which axis the network runs.
        network: Of which kind it is, and what is asked of it.
    """

    words: list[str]
    lengths: list[int]
    hidden_size: int
    seed: int
    alphabet: str
    layout: Layout
    network: Network = DEFAULT_NETWORK

    @property
    def hidden(self) -> int:
        """The width of the states."""
        return self.network.proj_size or self.hidden_size

    def with_words(self, words: list[str]) -> "Request":
        """The same question about other words."""
        return replace(self, words=words, lengths=list(map(len, words)))


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedRequest:
    """A request's bytes, and what its reply must fit.

    Attributes:
        data: A serialised ForwardRequest.
        lengths: The symbols of each word.
        hidden: The width of its states.
        alphabet: The symbols it names.
        layout: The layout it asks for.
        network: The network it asks for.
        is_distinct: Whether the reply is to send each distinct state once.
    """

    data: bytes
    lengths: list[int]
    hidden: int
    alphabet: str
    layout: Layout
    network: Network = DEFAULT_NETWORK
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
) -> Request:
    """The arguments of one call; the alphabet is derived if None or empty.

    Raises:
        TypeError: An argument has the wrong type, such as one str for `words`.
        InvalidRequestError: A number or a layout that the contract cannot carry.
    """
    words = _listed(words)
    _check_alphabet(alphabet)
    if layout not in _LAYOUTS:
        raise _invalid("layout", f"layout is {layout!r}; it must be one of {', '.join(_LAYOUTS)}")
    return Request(
        words=words,
        lengths=list(map(len, words)),
        hidden_size=_integer("hidden_size", hidden_size, bits=32),
        seed=_integer("seed", seed, bits=64),
        alphabet=alphabet or derive_alphabet(words),
        layout=layout,
        network=check_network(options) if options else DEFAULT_NETWORK,
    )


def encode(request: Request, *, is_distinct: bool = False, request_id: str = "") -> EncodedRequest:
    """The bytes of a request; the alphabet is always sent.

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
    try:
        message.words.extend(request.words)
        message.alphabet = request.alphabet
    except UnicodeEncodeError:
        refuse_surrogates(request.words, request.alphabet)
    return EncodedRequest(
        data=message.SerializeToString(),
        lengths=request.lengths,
        hidden=request.hidden,
        alphabet=request.alphabet,
        layout=request.layout,
        network=request.network,
        is_distinct=is_distinct,
    )


def encode_request(
    words: Iterable[str], *, hidden_size: int, seed: int, alphabet: str | None, layout: Layout
) -> EncodedRequest:
    """The request for one call, with a dense reply.

    Raises:
        TypeError: An argument has the wrong type, such as one str for `words`.
        InvalidRequestError: A number, a layout or a text that the contract cannot carry.
    """
    return encode(check_request(words, hidden_size=hidden_size, seed=seed, alphabet=alphabet, layout=layout))


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
        raise _invalid(
            names[at], f"{names[at]} is {texts[at]!r}: a lone surrogate is no character; decode the text anew"
        ) from None


def _listed(words: Iterable[str]) -> list[str]:
    if isinstance(words, str | bytes):
        raise TypeError(f"words is one {type(words).__name__}; pass a list of words, such as [{words!r:.40}]")
    listed = list(words)
    for index, word in enumerate(listed):
        if not isinstance(word, str):
            raise TypeError(f"words[{index}] is {type(word).__name__}; every word is a str")
    return listed


def _check_alphabet(alphabet: str | None) -> None:
    if alphabet is not None and not isinstance(alphabet, str):
        raise TypeError(f"alphabet is {type(alphabet).__name__}; pass one str, such as 'helo'")


def _integer(name: str, value: int, *, bits: int) -> int:
    """`value` if the contract's field can hold it, so that what cannot travel is refused by name."""
    number = operator.index(value)
    bound = 2 ** (bits - 1)
    if not -bound <= number < bound:
        raise _invalid(name, f"{name} is {number}; it must be from {-bound} to {bound - 1}")
    return number


def _invalid(field: str, description: str) -> InvalidRequestError:
    return InvalidRequestError(
        description, violations=(FieldViolation(field=field, description=description),)
    )
