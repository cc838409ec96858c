"""Arguments to a request's bytes, a reply's bytes to a result; nothing here waits or knows a connection.

What the caller got wrong in Python's terms (types, ranges of the wire's integers, text that is not Unicode)
is found here, where it can be named as the caller wrote it. Everything else is for the server to judge.
"""

import operator
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
from google.protobuf.message import DecodeError
from unrolled.v1 import forward_pb2 as pb
from unrolled.v1.wire import SplitReply, split_reply

from unrolled_client.errors import FieldViolation, InvalidRequestError, ProtocolError
from unrolled_client.result import Layout, Limits, Result, ServerInfo, Timing

SERVER_INFO_REQUEST = b""
"""A GetServerInfoRequest, which has no fields."""

_LAYOUTS: dict[Layout, pb.Layout] = {
    "batch_first": pb.LAYOUT_BATCH_FIRST,
    "seq_first": pb.LAYOUT_SEQ_FIRST,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedRequest:
    """A request's bytes, and what its reply must fit.

    Attributes:
        data: A serialised ForwardRequest.
        lengths: The symbols of each word.
        hidden: The width of its states.
        alphabet: The symbols it names.
        layout: The layout it asks for.
    """

    data: bytes
    lengths: list[int]
    hidden: int
    alphabet: str
    layout: Layout


def derive_alphabet(words: Iterable[str]) -> str:
    """The distinct code points of all words, by first appearance.

    >>> derive_alphabet(["hello", "eolll", "lleel"])
    'helo'
    """
    return "".join(dict.fromkeys("".join(words)))


def encode_request(
    words: Iterable[str], *, hidden_size: int, seed: int, alphabet: str | None, layout: Layout
) -> EncodedRequest:
    """The request for one call; the alphabet is derived if None or empty, and always sent.

    Raises:
        TypeError: An argument has the wrong type, such as one str for `words`.
        InvalidRequestError: A number, a layout or a text that the contract cannot carry.
    """
    words = _listed(words)
    _check_alphabet(alphabet)
    symbols = alphabet or derive_alphabet(words)
    request = pb.ForwardRequest(
        hidden_size=_integer("hidden_size", hidden_size, bits=32),
        seed=_integer("seed", seed, bits=64),
        layout=_layout(layout),
    )
    try:
        request.words.extend(words)
        request.alphabet = symbols
    except UnicodeEncodeError:
        _refuse_surrogates(words, symbols)
    return EncodedRequest(
        data=request.SerializeToString(),
        lengths=list(map(len, words)),
        hidden=request.hidden_size,
        alphabet=symbols,
        layout=layout,
    )


def decode_reply(data: bytes, request: EncodedRequest) -> Result:
    """The result in a ForwardReply.

    Raises:
        ProtocolError: The bytes are no reply, or no answer to `request`.
    """
    try:
        reply = split_reply(data)
    except DecodeError as error:
        raise ProtocolError(f"the {len(data)} bytes received are not a ForwardReply: {error}") from None
    shape = _checked_shape(reply, request)
    timing = reply.rest.timing
    return Result(
        outputs=reply.values.reshape(shape).astype(np.float32),  # the one copy: values view the message
        lengths=np.array(request.lengths, np.int64),
        alphabet=request.alphabet,
        layout=request.layout,
        timing=Timing(queue_s=timing.queue_s, compute_s=timing.compute_s),
        fingerprint=reply.rest.fingerprint,
    )


def decode_server_info(data: bytes) -> ServerInfo:
    """The content of a GetServerInfoReply.

    Raises:
        ProtocolError: The bytes are no such reply.
    """
    try:
        reply = pb.GetServerInfoReply.FromString(data)
    except DecodeError as error:
        raise ProtocolError(f"the {len(data)} bytes received are not a GetServerInfoReply: {error}") from None
    limits = reply.limits
    return ServerInfo(
        version=reply.version,
        torch_version=reply.torch_version,
        device=reply.device,
        fingerprint=reply.fingerprint,
        limits=Limits(
            max_words=limits.max_words,
            max_word_length=limits.max_word_length,
            max_hidden_size=limits.max_hidden_size,
            max_alphabet_size=limits.max_alphabet_size,
            max_request_bytes=limits.max_request_bytes,
            max_reply_bytes=limits.max_reply_bytes,
        ),
    )


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


def _layout(layout: Layout) -> pb.Layout:
    if layout not in _LAYOUTS:
        raise _invalid("layout", f"layout is {layout!r}; it must be one of {', '.join(_LAYOUTS)}")
    return _LAYOUTS[layout]


def _refuse_surrogates(words: list[str], alphabet: str) -> NoReturn:
    """Names the text with a lone surrogate, which UTF-8 and so the wire cannot carry."""
    names = [*(f"words[{index}]" for index in range(len(words))), "alphabet"]
    texts = [*words, alphabet]
    at = next(i for i, text in enumerate(texts) if any("\ud800" <= symbol <= "\udfff" for symbol in text))
    raise _invalid(
        names[at], f"{names[at]} is {texts[at]!r}: a lone surrogate is no character; decode the text anew"
    )


def _checked_shape(reply: SplitReply, request: EncodedRequest) -> tuple[int, int, int]:
    """The array's shape, if all that the reply says agrees with itself and with the request."""
    lengths = request.lengths
    batch, seq, hidden = expected = (len(lengths), max(lengths, default=0), request.hidden)
    fits = (
        tuple(reply.rest.shape) == expected
        and list(reply.rest.lengths) == lengths
        and reply.values.size == batch * seq * hidden
        and not reply.index.size  # the distinct form, which was not asked for
        and 0 not in lengths  # an empty word has no last state
    )
    if not fits:
        raise ProtocolError(
            f"the reply does not fit the request: it has shape {tuple(reply.rest.shape)} and "
            f"{reply.values.size} values where {expected} was expected; does the server speak this contract?"
        )
    return expected


def _invalid(field: str, description: str) -> InvalidRequestError:
    return InvalidRequestError(
        description, violations=(FieldViolation(field=field, description=description),)
    )
