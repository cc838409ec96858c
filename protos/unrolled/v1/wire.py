"""Encodes and decodes replies and states without handling their array elements one by one.

On the wire a packed `float` or `sfixed32` field is a tag, a length and little-endian memory. Protobuf would
copy element by element (3 million floats: over a second), so the server writes arrays as memory between the
other serialised fields, and the client views them in place. The bytes are those of an ordinary ForwardReply.

The id and the timing, which differ between replies to equal requests, come last, so that the server can cache
the bytes before them. Server and client share this module because both must agree on the encoding to the bit.
"""

import ctypes
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from unrolled.v1.forward_pb2 import ForwardReply, ForwardRequest, State, Timing

_FLOAT32 = np.dtype("<f4")
_INT32 = np.dtype("<i4")
_ALIGNMENT = 4

# A tag is a field number and a wire type; type 2 is a length followed by that many bytes.
_VALUES_TAG = ForwardReply.VALUES_FIELD_NUMBER << 3 | 2
_INDEX_TAG = ForwardReply.INDEX_FIELD_NUMBER << 3 | 2
# Every field of a reply is of type 2; there are 15 numbers below 16.
_PLAIN_TAGS = frozenset(number << 3 | 2 for number in range(1, 16))

_H_TAG = State.H_FIELD_NUMBER << 3 | 2
_C_TAG = State.C_FIELD_NUMBER << 3 | 2
_REQUEST_ID_TAG = ForwardRequest.ID_FIELD_NUMBER << 3 | 2
_REPLY_ID_TAG = bytes([ForwardReply.ID_FIELD_NUMBER << 3 | 2])
# Wire type 1 is eight bytes, here a double. Zeros are written too, so that every trailer has the same size.
_TIMING = struct.Struct("<BBBdBd")
_TIMING_HEAD = (
    ForwardReply.TIMING_FIELD_NUMBER << 3 | 2,
    _TIMING.size - 2,
    Timing.QUEUE_S_FIELD_NUMBER << 3 | 1,
)
_TIMING_START = bytes(_TIMING_HEAD)
TIMING_BYTES = _TIMING.size
"""Size of a reply's trailer without the id."""
_COMPUTE_TAG = Timing.COMPUTE_S_FIELD_NUMBER << 3 | 1

_MAX_IN_ONE_BYTE = 0x7F
_MAX_VARINT_BYTES = 5

# The position of a field in a message: of its tag, and its payload's begin and end. A plain tuple, because
# decoding a small reply takes only a few microseconds.
_Field: TypeAlias = tuple[int, int, int]

# Python's own interface makes a bytes object without content, to be written before anything else sees it.
_new_bytes = ctypes.pythonapi.PyBytes_FromStringAndSize
_new_bytes.restype, _new_bytes.argtypes = ctypes.py_object, (ctypes.c_char_p, ctypes.c_ssize_t)
_address = ctypes.pythonapi.PyBytes_AsString
_address.restype, _address.argtypes = ctypes.c_void_p, (ctypes.py_object,)

Piece: TypeAlias = bytes | memoryview
"""A part of a serialised message; a memoryview is an array's memory."""

_Scalar = TypeVar("_Scalar", np.float32, np.int32)


@dataclass(slots=True, kw_only=True)  # frozen ones take three times as long to make
class SplitReply:
    """A reply with its two large fields as arrays.

    Attributes:
        rest: All other fields; `values` and `index` are empty here.
        values: (n,) float32, read-only, a view of the message if possible.
        index: (m,) int32, like `values`; empty in the dense form.
        h, c, timing: Final state and seconds (in the queue, of computing) of a reply that was made in this
            process, whose `values` have the reply's shape. Otherwise None, and both are in `rest`.
    """

    rest: ForwardReply
    values: NDArray[np.float32]
    index: NDArray[np.int32]
    h: NDArray[np.float32] | None = None
    c: NDArray[np.float32] | None = None
    timing: tuple[float, float] | None = None


class _NotPlainError(Exception):
    """The message has a valid but unusual encoding that only protobuf parses."""


class ReplyMessage:
    """A serialised reply whose values are written in place, for large ones, which cost more to copy.

    Attributes:
        values: float32, little-endian, to be written before `finish`; aligned to 4 bytes below 256 MiB.
    """

    __slots__ = ("_after", "_data", "_end", "_memory", "_trailer_size", "values")

    def __init__(
        self,
        rest: ForwardReply,
        *,
        shape: tuple[int, ...],
        index: NDArray[np.int32] | None = None,
        more: Sequence[Piece] = (),
        trailer_size: int = 0,
    ) -> None:
        """Allocates the message; raises ValueError as `join_reply` does.

        Args:
            rest: See `join_reply`.
            shape: Of the values.
            index: See `join_reply`.
            more: Pieces of further serialised fields, which `finish` copies.
            trailer_size: Bytes of the trailer that `finish` takes.
        """
        byte_count = math.prod(shape) * _FLOAT32.itemsize
        before, self._after = _lay_out(rest, byte_count=byte_count, index=index)
        self._after += more
        self._end = len(before) + byte_count
        size = self._end + sum(memoryview(piece).nbytes for piece in self._after) + trailer_size
        self._trailer_size = trailer_size
        self._data: bytes = _new_bytes(None, size)
        self._memory = np.asarray(_Writable(self._data)).data
        self._memory[: len(before)] = before
        self.values: NDArray[np.float32] = np.ndarray(shape, _FLOAT32, self._memory, len(before))

    def finish(self, trailer: bytes = b"") -> bytes:
        """Writes all that follows the values, and returns what `join_reply` would.

        Raises ValueError for a trailer of another size than announced.
        """
        if len(trailer) != self._trailer_size:
            raise ValueError(f"the trailer has {len(trailer)} bytes; {self._trailer_size} were announced")
        for piece in (*self._after, trailer):
            flat = memoryview(piece).cast("B")
            begin, self._end = self._end, self._end + len(flat)
            self._memory[begin : self._end] = flat
        return self._data


class _Writable:
    """numpy's interface to the memory of a bytes object that nothing else has seen yet."""

    __slots__ = ("__array_interface__", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data  # kept alive by the arrays
        place = {"shape": (len(data),), "data": (_address(data), False)}
        self.__array_interface__ = {"version": 3, "typestr": "|u1", **place}


def join_reply(
    rest: ForwardReply,
    *,
    values: NDArray[np.float32],
    index: NDArray[np.int32] | None = None,
    more: Sequence[Piece] = (),
    trailer: bytes = b"",
) -> bytes:
    """Returns a serialised reply; copies its arrays once.

    Args:
        rest: The reply without `values` and `index`.
        values: Any shape, float32, little-endian and C-contiguous.
        index: Any shape, int32, little-endian and C-contiguous; None for the dense form.
        more: Pieces of further serialised fields; see `state_field`.
        trailer: Serialised fields for the end of the message; see `reply_trailer`.

    Returns:
        The bytes of an ordinary ForwardReply, in which arrays below 256 MiB are aligned to 4 bytes.

    Raises:
        ValueError: An array has another type or layout, or `rest` contains arrays.
    """
    _check(values, _FLOAT32)
    before, after = _lay_out(rest, byte_count=values.nbytes, index=index)
    return b"".join([before, values.data, *after, *more, trailer])


def reply_trailer(*, id_field: bytes, queue_s: float, compute_s: float) -> bytes:
    """Returns a reply's serialised `id` and `timing`, which differ between replies to equal requests.

    Args:
        id_field: From `encode_id` or `split_id`.
        queue_s: See `Timing`.
        compute_s: See `Timing`.
    """
    return _TIMING.pack(*_TIMING_HEAD, queue_s, _COMPUTE_TAG, compute_s) + id_field


def find_trailer(reply: bytes, id_field: bytes = b"") -> tuple[int, float, float]:
    """Returns the position and the timing of a reply's trailer, without parsing the reply.

    Args:
        reply: From `join_reply`, with this id and with or without a timing.
        id_field: From `encode_id`.

    Returns:
        The position in the reply, then the seconds in the queue and of computing; NaN without a timing.
    """
    end = len(reply) - len(id_field)
    begin = end - TIMING_BYTES
    if begin >= 0 and reply.startswith(_TIMING_START, begin):
        _, _, _, queue_s, compute_tag, compute_s = _TIMING.unpack_from(reply, begin)
        if compute_tag == _COMPUTE_TAG:
            return begin, queue_s, compute_s
    return end, math.nan, math.nan


def state_field(
    number: int, *, h: NDArray[np.float32], c: NDArray[np.float32] | None, network_digest: str
) -> list[Piece]:
    """Returns the pieces of a serialised field of type `State`; the large ones view the arrays.

    Args:
        number: Field number of `ForwardReply.final_state` or `ForwardRequest.initial_state`.
        h: See `State.h`; little-endian and C-contiguous, like `c`.
        c: See `State.c`; None for cells other than LSTM.
        network_digest: See `State.network_digest`.

    Raises:
        ValueError: An array has another type or layout.
    """
    rest = State(h_shape=h.shape, c_shape=() if c is None else c.shape, network_digest=network_digest)
    message: list[Piece] = [rest.SerializeToString()]
    position = _append(message, h, tag=_H_TAG, dtype=_FLOAT32, position=len(message[0]))
    if c is not None:
        position = _append(message, c, tag=_C_TAG, dtype=_FLOAT32, position=position)
    return [_varint(number << 3 | 2), _varint(position), *message]


def encode_id(request_id: str) -> bytes:
    """Returns a reply's serialised field `id`; empty without an id."""
    return ForwardReply(id=request_id).SerializeToString() if request_id else b""


def split_id(request: bytes) -> tuple[bytes, bytes]:
    """Returns a request without its id, and the id field for `reply_trailer`, without parsing the request.

    Only an id of 1 to 127 ASCII characters in the last field of the message is split off; otherwise the
    request is returned unchanged. A request may end with text that looks like an id, so the split is right
    only if the rest is a valid message.
    """
    size = len(request)
    at = request.rfind(_REQUEST_ID_TAG, -_MAX_IN_ONE_BYTE - 2)
    while at >= 0:
        begin = at + 2
        if begin < size == begin + request[begin - 1] and request[begin:].isascii():
            return request[:at], _REPLY_ID_TAG + request[at + 1 :]
        at = request.rfind(_REQUEST_ID_TAG, max(0, size - _MAX_IN_ONE_BYTE - 2), at)
    return request, b""


def split_reply(data: bytes) -> SplitReply:
    """Parses a reply and views its arrays in place.

    Protobuf decodes valid but unusual encodings (unpacked, or in several pieces), with the same result but
    with copies.

    Args:
        data: A serialised ForwardReply. The arrays keep it alive.

    Raises:
        google.protobuf.message.DecodeError: `data` is not a ForwardReply. A retry does not help.
    """
    try:
        fields = _find_fields(data)
        values = _view(data, fields.pop((_VALUES_TAG, True), None), dtype=_FLOAT32)
        index = _view(data, fields.pop((_INDEX_TAG, True), None), dtype=_INT32)
    except _NotPlainError:
        return _split_by_protobuf(data)
    rest = b"".join([data[tag_at:end] for tag_at, _, end in fields.values()])
    return SplitReply(rest=ForwardReply.FromString(rest), values=values, index=index)


def _lay_out(
    rest: ForwardReply, *, byte_count: int, index: NDArray[np.int32] | None
) -> tuple[bytes, list[Piece]]:
    """Returns what precedes a reply's values, of so many bytes, and what follows them."""
    if rest.values or rest.index:
        raise ValueError("rest has values or an index of its own; pass arrays only")
    before = rest.SerializeToString()
    after: list[Piece] = []
    if byte_count:  # protobuf omits empty fields
        before += _head(_VALUES_TAG, byte_count=byte_count, position=len(before))
    if index is not None:
        _append(after, index, tag=_INDEX_TAG, dtype=_INT32, position=len(before) + byte_count)
    return before, after


def _append(
    message: list[Piece],
    array: NDArray[_Scalar],
    *,
    tag: int,
    dtype: np.dtype[_Scalar],
    position: int,
) -> int:
    """Appends a field to the pieces of a message that ends at `position`; returns the new end."""
    _check(array, dtype)
    if not array.size:  # protobuf omits empty fields
        return position
    head = _head(tag, byte_count=array.nbytes, position=position)
    message += [head, array.data]
    return position + len(head) + array.nbytes


def _check(array: NDArray[_Scalar], dtype: np.dtype[_Scalar]) -> None:
    if array.dtype != dtype or not array.flags.c_contiguous:
        order = "C-contiguous" if array.flags.c_contiguous else "strided"
        raise ValueError(f"the array is {array.dtype.str}, {order}; it must be {dtype.str}, C-contiguous")


def _head(tag: int, *, byte_count: int, position: int) -> bytes:
    """Returns a tag and a length with padding that aligns the payload.

    Without padding three of four arrays would be misaligned, which makes numpy four times as slow. The
    padding is an empty piece of the same field (two bytes) and an overlong length (one byte). All parsers
    accept both. An overlong tag would work, too, but protobuf's pure Python treats such a field as unknown.
    """
    length_size = len(_varint(byte_count))
    padding = -(position + 1 + length_size) % _ALIGNMENT
    empty_piece = bytes([tag, 0]) * (padding // 2)
    length = _varint(byte_count, min_size=min(length_size + padding % 2, _MAX_VARINT_BYTES))
    return empty_piece + bytes([tag]) + length


def _varint(number: int, *, min_size: int = 1) -> bytes:
    """Returns a varint: seven bits per byte, lowest first; the top bit says that more bytes follow."""
    encoded = bytearray()
    while number > _MAX_IN_ONE_BYTE or len(encoded) + 1 < min_size:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _find_fields(data: bytes) -> dict[tuple[int, bool], _Field]:
    """Returns the position of each field in message order, by its tag and whether it has a payload.

    It reads at most 30 fields: of each number one piece with a payload and one empty piece.

    Raises:
        _NotPlainError: A field is not of type 2, has a number above 15, has more pieces, or is truncated.
    """
    fields: dict[tuple[int, bool], _Field] = {}
    position = 0
    while position < len(data):
        tag, length_at = _read_varint(data, position)
        byte_count, begin = _read_varint(data, length_at)
        end = begin + byte_count
        piece = (tag, byte_count > 0)
        if tag not in _PLAIN_TAGS or piece in fields or end > len(data):
            raise _NotPlainError
        fields[piece] = (position, begin, end)
        position = end
    return fields


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    """Returns the varint at a position, and its end."""
    if position < len(data) and data[position] <= _MAX_IN_ONE_BYTE:  # nearly always
        return data[position], position + 1
    number = shift = 0
    for byte in data[position : position + _MAX_VARINT_BYTES]:
        position += 1
        number |= (byte & 0x7F) << shift
        if byte <= _MAX_IN_ONE_BYTE:
            return number, position
        shift += 7
    raise _NotPlainError


def _view(data: bytes, field: _Field | None, *, dtype: np.dtype[_Scalar]) -> NDArray[_Scalar]:
    """Returns a field's payload as an array over the message's memory."""
    if field is None:
        return np.frombuffer(b"", dtype)
    _, begin, end = field
    count, remainder = divmod(end - begin, dtype.itemsize)
    if remainder:
        raise _NotPlainError
    return np.frombuffer(data, dtype, count, begin)


def _split_by_protobuf(data: bytes) -> SplitReply:
    """Parses a reply with protobuf.

    Protobuf re-encodes the arrays in its usual form, which keeps every bit of a NaN; `split_reply` views
    them.
    """
    rest = ForwardReply.FromString(data)
    known = ForwardReply.FromString(data)  # CopyFrom would take the elements one by one
    known.DiscardUnknownFields()
    arrays = split_reply(known.SerializeToString())
    rest.ClearField("values")
    rest.ClearField("index")
    return SplitReply(rest=rest, values=arrays.values, index=arrays.index)
