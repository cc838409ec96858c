"""Arguments to a request's bytes, a reply's bytes to a result; nothing here waits or knows a connection.

What the caller got wrong in Python's terms (types, ranges of the wire's integers, text that is not Unicode)
is found here, where it can be named as the caller wrote it. Everything else is for the server to judge.
"""

import math
import operator
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from unrolled.v1 import forward_pb2 as pb
from unrolled.v1.wire import SplitReply, split_reply

from unrolled_client._network import DEFAULT_NETWORK, Network, NetworkOptions, check_network
from unrolled_client.errors import FieldViolation, InvalidRequestError, ProtocolError
from unrolled_client.result import Layout, Limits, Result, ServerInfo, State, Timing

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


@dataclass(frozen=True, slots=True, kw_only=True)
class States:
    """The states of a reply that fits its request, still in the message's memory.

    Attributes:
        rows: float32 (rows, hidden). Dense form: (batch * seq, hidden).
        index: int32 (batch, seq), the row at each position; None in the dense form.
        shape: (batch, seq, hidden).
    """

    rows: NDArray[np.float32]
    index: NDArray[np.int32] | None
    shape: tuple[int, int, int]

    def array(self) -> NDArray[np.float32]:
        """The dense array, (batch, seq, hidden), in memory of its own: the one copy."""
        outputs = np.empty(self.shape, np.float32)
        if self.index is None:
            np.copyto(outputs, self.rows.reshape(self.shape))
        else:
            self.rows.take(self.index, axis=0, out=outputs, mode="clip")  # "raise" would gather twice
        return outputs

    def of(self, words: NDArray[np.int64]) -> NDArray[np.float32]:
        """The dense array of some of the words, by their indices: (words, seq, hidden), a copy."""
        if self.index is None:
            return self.rows.reshape(self.shape).take(words, axis=0, mode="clip")
        return self.rows.take(self.index.take(words, axis=0, mode="clip"), axis=0, mode="clip")


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


def split(data: bytes) -> SplitReply:
    """The parts of a ForwardReply.

    Raises:
        ProtocolError: The bytes are no reply.
    """
    try:
        return split_reply(data)
    except DecodeError as error:
        raise ProtocolError(f"the {len(data)} bytes received are not a ForwardReply: {error}") from None


def decode_reply(data: bytes, request: EncodedRequest) -> Result:
    """The result in a ForwardReply.

    Raises:
        ProtocolError: The bytes are no reply, or no answer to `request`.
    """
    return decode_split(split(data), request)


def decode_split(reply: SplitReply, request: EncodedRequest) -> Result:
    """The result in a reply.

    Raises:
        ProtocolError: It is no answer to `request`.
    """
    timing = reply.rest.timing
    outputs = _pooled_in(reply, request) if request.network.is_pooled else states_in(reply, request).array()
    return Result(
        outputs=outputs,
        lengths=np.array(request.lengths, np.int64),
        alphabet=request.alphabet,
        layout=request.layout,
        timing=Timing(queue_s=timing.queue_s, compute_s=timing.compute_s),
        fingerprint=reply.rest.fingerprint,
        network=request.network,
        state=_state_in(reply.rest, request) if request.network.return_final_state else None,
    )


def _pooled_in(reply: SplitReply, request: EncodedRequest) -> NDArray[np.float32]:
    """One vector a word, (batch, hidden), in memory of its own.

    Raises:
        ProtocolError: The reply is no answer to the request.
    """
    shape = len(request.lengths), request.hidden
    if tuple(reply.rest.shape) != shape or reply.values.size != math.prod(shape):
        raise ProtocolError(
            f"the reply does not fit the request: it has shape {tuple(reply.rest.shape)} and "
            f"{reply.values.size} values where shape {shape} was expected; does the server speak this "
            "contract?"
        )
    return reply.values.reshape(shape).copy()


def _state_in(rest: pb.ForwardReply, request: EncodedRequest) -> State:
    """Every layer's last states.

    Raises:
        ProtocolError: There are none, or not those of the request.
    """
    state = rest.final_state
    batch = len(request.lengths) if request.layout == "batch_first" else max(request.lengths)
    shapes = tuple(state.h_shape), tuple(state.c_shape)
    wanted = (request.network.num_layers, batch)
    sizes = [math.prod(shape) for shape in shapes if shape]
    arrays = [np.array(values, np.float32) for values in (state.h, state.c) if len(values)]
    if shapes[0][:2] != wanted or sizes != [array.size for array in arrays]:
        raise ProtocolError(f"the reply has final states of shapes {shapes}; {wanted} was expected first")
    h, c, *_ = *(array.reshape(shape) for array, shape in zip(arrays, shapes, strict=False)), None
    return State(h=h, c=c, network_digest=state.network_digest)


def states_in(reply: SplitReply, request: EncodedRequest) -> States:
    """The states of a reply, if all that it says agrees with itself and with the request.

    Raises:
        ProtocolError: It does not.
    """
    lengths = request.lengths
    shape = batch, seq, hidden = len(lengths), max(lengths, default=0), request.hidden
    fits = (
        tuple(reply.rest.shape) == shape
        and list(reply.rest.lengths) == lengths
        and hidden > 0
        and 0 not in lengths  # an empty word has no last state
        and (_has_distinct(reply, shape) if request.is_distinct else _has_dense(reply, shape))
    )
    if not fits:
        raise ProtocolError(
            f"the reply does not fit the request: it has shape {tuple(reply.rest.shape)}, "
            f"{reply.values.size} values and an index of {reply.index.size} where shape {shape} was "
            "expected; does the server speak this contract?"
        )
    return States(
        rows=reply.values.reshape(-1, hidden),
        index=reply.index.reshape(batch, seq) if request.is_distinct else None,
        shape=shape,
    )


def _has_dense(reply: SplitReply, shape: tuple[int, int, int]) -> bool:
    return reply.values.size == math.prod(shape) and not reply.index.size


def _has_distinct(reply: SplitReply, shape: tuple[int, int, int]) -> bool:
    """Whether every position has a row."""
    batch, seq, hidden = shape
    row_count, rest = divmod(reply.values.size, hidden)
    index = reply.index
    return not rest and index.size == batch * seq and bool(0 <= index.min() <= index.max() < row_count)


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


def _invalid(field: str, description: str) -> InvalidRequestError:
    return InvalidRequestError(
        description, violations=(FieldViolation(field=field, description=description),)
    )
