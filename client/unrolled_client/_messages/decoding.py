"""Decodes reply bytes into results; a reply that does not fit its request raises ProtocolError."""

import math
from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np
from google.protobuf.message import DecodeError, Message
from numpy.typing import NDArray
from unrolled.v1 import forward_pb2 as pb
from unrolled.v1.wire import SplitReply, split_reply

from unrolled_client._messages.request import EncodedRequest, Request
from unrolled_client.errors import ProtocolError, error_from_refusal
from unrolled_client.results import Limits, Result, ServerInfo, State, Timing, Vectors

_Value = TypeVar("_Value", Limits, Vectors)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """The outputs of a reply that fits its request, still in the message's memory."""

    rows: NDArray[np.float32]  # (rows, hidden)
    index: NDArray[np.int32] | None  # (batch, seq), the row at each position; None in the dense form
    shape: tuple[int, ...]  # (batch, seq, hidden), or (batch, hidden) if pooled

    def array(self) -> NDArray[np.float32]:
        """Returns the dense array of `shape` in memory of its own, the only copy."""
        outputs = np.empty(self.shape, np.float32)
        if self.index is None:
            np.copyto(outputs, self.rows.reshape(self.shape))
        else:
            self.rows.take(self.index, axis=0, out=outputs, mode="clip")  # "raise" would gather twice
        return outputs

    def take(self, words: NDArray[np.int64]) -> NDArray[np.float32]:
        """Returns a copy of the dense array of some words, given by their indices."""
        if self.index is None:
            return self.rows.reshape(self.shape).take(words, axis=0, mode="clip")
        return self.rows.take(self.index.take(words, axis=0, mode="clip"), axis=0, mode="clip")


def parse_reply(data: bytes) -> SplitReply:
    """Returns the parts of a ForwardReply."""
    try:
        return split_reply(data)
    except DecodeError as error:
        raise ProtocolError(f"the {len(data)} bytes received are not a ForwardReply: {error}") from None


def decode_reply(data: bytes, request: EncodedRequest) -> Result:
    """Returns the result in a ForwardReply."""
    return decode_parsed(parse_reply(data), request)


def decode_local(reply: SplitReply, request: EncodedRequest) -> Result:
    """Returns the result in a reply of this process; raises the error in it."""
    if reply.timing is None:
        raise error_from_refusal(reply.rest.error)
    return decode_parsed(reply, request)


def decode_parsed(reply: SplitReply, request: EncodedRequest) -> Result:
    """Returns the result in a reply."""
    asked = request.request
    return make_result(
        asked,
        outputs=reply.values if asked.is_local else read_outputs(reply, request).array(),
        timing=read_timing(reply),
        fingerprint=reply.rest.fingerprint,
        state=read_final_state(reply, request) if asked.network.return_final_state else None,
    )


def make_result(
    request: Request,
    *,
    outputs: NDArray[np.float32],
    timing: Timing,
    fingerprint: str,
    state: State | None = None,
) -> Result:
    """Returns the result of a request, from the reply's values and the request's."""
    return Result(
        outputs=outputs,
        words=tuple(request.words),
        lengths=np.array(request.lengths, np.int64),
        hidden_size=request.hidden_size,
        seed=request.seed,
        alphabet=request.alphabet,
        layout=request.layout,
        timing=timing,
        fingerprint=fingerprint,
        network=request.network,
        state=state,
    )


def read_timing(reply: SplitReply) -> Timing:
    """Returns the server's times in a reply."""
    if reply.timing is not None:
        return Timing(queue_s=reply.timing[0], compute_s=reply.timing[1])
    timing = reply.rest.timing
    return Timing(queue_s=timing.queue_s, compute_s=timing.compute_s)


def read_final_state(reply: SplitReply, request: EncodedRequest) -> State:
    """Returns every layer's last states."""
    state, asked = reply.rest.final_state, request.request
    if reply.h is not None:
        return State(h=reply.h, c=reply.c, network_digest=state.network_digest)
    h_shape = asked.network.h_shape(asked.hidden_size, batch=asked.batch)
    c_shape = asked.network.c_shape(asked.hidden_size, batch=asked.batch)
    h, c = np.array(state.h, np.float32), np.array(state.c, np.float32)
    fits = (
        tuple(state.h_shape) == h_shape
        and tuple(state.c_shape) == (c_shape or ())
        and h.size == math.prod(h_shape)
        and c.size == (math.prod(c_shape) if c_shape else 0)
    )
    if not fits:
        raise ProtocolError(
            f"the reply has final states of shapes {tuple(state.h_shape)} and {tuple(state.c_shape)}, with "
            f"{h.size} and {c.size} values; {h_shape} and {c_shape or ()} were expected"
        )
    return State(
        h=h.reshape(h_shape), c=c.reshape(c_shape) if c_shape else None, network_digest=state.network_digest
    )


def read_outputs(reply: SplitReply, request: EncodedRequest) -> Outputs:
    """Returns the outputs in a reply."""
    lengths, hidden = request.request.lengths, request.request.hidden
    batch, seq = len(lengths), max(lengths, default=0)
    shape = (batch, hidden) if request.request.network.is_pooled else (batch, seq, hidden)
    fits = (
        tuple(reply.rest.shape) == shape
        and list(reply.rest.lengths) == lengths
        and hidden > 0
        and (0 not in lengths or request.request.network.on_empty == "zero")
        and (_has_distinct(reply, shape) if request.is_distinct else _has_dense(reply, shape))
    )
    if not fits:
        raise ProtocolError(
            f"the reply does not fit the request: it has shape {tuple(reply.rest.shape)}, "
            f"{reply.values.size} values and an index of {reply.index.size} where shape {shape} was "
            "expected; does the server speak this contract?"
        )
    return Outputs(
        rows=reply.values.reshape(-1, hidden),
        index=reply.index.reshape(batch, seq) if request.is_distinct else None,
        shape=shape,
    )


def _has_dense(reply: SplitReply, shape: tuple[int, ...]) -> bool:
    return reply.values.size == math.prod(shape) and not reply.index.size


def _has_distinct(reply: SplitReply, shape: tuple[int, ...]) -> bool:
    """Returns whether every position has a row."""
    *positions, hidden = shape
    row_count, rest = divmod(reply.values.size, hidden)
    index = reply.index
    return (
        not rest and index.size == math.prod(positions) and bool(0 <= index.min() <= index.max() < row_count)
    )


def decode_server_info(data: bytes) -> ServerInfo:
    """Returns the content of a GetServerInfoReply."""
    try:
        reply = pb.GetServerInfoReply.FromString(data)
    except DecodeError as error:
        raise ProtocolError(f"the {len(data)} bytes received are not a GetServerInfoReply: {error}") from None
    texts = ("version", "torch_version", "device", "fingerprint", "instruction_set")
    return ServerInfo(
        **{name: getattr(reply, name) for name in texts},
        limits=_copy_fields(reply.limits, Limits),
        vectors=tuple(_copy_fields(table, Vectors) for table in reply.vectors),
    )


def _copy_fields(message: Message, kind: type[_Value]) -> _Value:
    """Returns the dataclass with the values of the message's fields of the same names."""
    return kind(**{one.name: getattr(message, one.name) for one in fields(kind)})
