"""A reply's bytes to a result; nothing here waits or knows a connection.

A file of its own because what a reply must fit is another matter than what a request may say (`_codec`).
"""

import math
from dataclasses import dataclass

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from unrolled.v1 import forward_pb2 as pb
from unrolled.v1.wire import SplitReply, split_reply

from unrolled_client._codec import EncodedRequest
from unrolled_client.errors import ProtocolError
from unrolled_client.result import Limits, Result, ServerInfo, State, Timing


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
