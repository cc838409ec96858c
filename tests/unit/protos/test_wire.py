"""Encoding and decoding compared with plain protobuf, on ordinary, unusual and hostile bytes."""

import os
import subprocess
import sys

import numpy as np
import pytest
from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError
from hypothesis import example, given
from hypothesis import strategies as st
from unrolled.v1.forward_pb2 import ForwardReply, ForwardRequest, RequestError, State, Timing
from unrolled.v1.wire import (
    TIMING_BYTES,
    ReplyMessage,
    _head,
    encode_id,
    find_trailer,
    join_reply,
    reply_trailer,
    split_id,
    split_reply,
    state_field,
)

INT32 = st.integers(-(2**31), 2**31 - 1)

# A program that parses a reply and writes it anew.
REWRITE_REPLY = """
import sys
from unrolled.v1.forward_pb2 import ForwardReply
sys.stdout.buffer.write(ForwardReply.FromString(sys.stdin.buffer.read()).SerializeToString())
"""


def elements(*, max_count=40):
    """Draws raw elements; as floats they include NaNs of every payload, infinities and denormals."""
    return st.lists(st.binary(min_size=4, max_size=4), max_size=max_count)


def arrays(dtype):
    """Draws one-dimensional arrays of arbitrary bits."""
    return elements().map(lambda drawn: np.frombuffer(b"".join(drawn), dtype))


def rests():
    """Draws replies without arrays."""
    details = st.builds(Any, value=st.binary())
    return st.builds(
        ForwardReply,
        shape=st.lists(INT32, max_size=3),
        lengths=st.lists(INT32, max_size=40),
        final_state=st.none() | st.builds(State, h=st.lists(st.floats(width=32), max_size=40)),
        id=st.text(max_size=40),
        timing=st.none() | st.builds(Timing, queue_s=st.floats(), compute_s=st.floats()),
        fingerprint=st.text(max_size=40),
        error=st.none() | st.builds(RequestError, code=INT32, details=st.lists(details, max_size=2)),
    )


@st.composite
def varints(draw, numbers):
    """Draws a varint, sometimes longer than necessary, so that tags are unusual as well."""
    number, padding = draw(numbers), draw(st.sampled_from([0] * 24 + [1, 2, 3, 4, 5, 10]))
    encoded = bytearray()
    while number > 0x7F or padding > 0:
        encoded.append(number & 0x7F | 0x80)
        padding -= number <= 0x7F
        number >>= 7
    return bytes([*encoded, number])


@st.composite
def fields(draw):
    """Draws a field of any number and wire type; its payload may be shorter than its length."""
    number = draw(st.sampled_from([1, 4] * 12 + [*range(10), 15, 16, 2**29 - 1, 2**29, 2**32]))
    wire_type = draw(st.sampled_from([2] * 24 + [5] * 8 + [*range(8)]))
    head = draw(varints(st.just(number << 3 | wire_type)))
    if wire_type == 2:
        payload = draw(elements(max_count=5).map(b"".join) if number in {1, 4} else st.binary(max_size=5))
        length = len(payload) + draw(st.sampled_from([0] * 24 + [1, 3, 4, 2**31, 2**63]))
        return head + draw(varints(st.just(length))) + payload
    sizes = {1: 8, 5: 4}
    if wire_type in sizes:
        return head + draw(st.binary(min_size=sizes[wire_type], max_size=sizes[wire_type]))
    return head + (draw(varints(st.integers(0, 2**64 - 1))) if wire_type == 0 else b"")


@st.composite
def damaged_replies(draw):
    """Draws a valid reply with some bytes replaced, removed or inserted."""
    data = bytearray(join_reply(draw(rests()), values=draw(arrays("<f4")), index=draw(arrays("<i4"))))
    for _ in range(draw(st.integers(1, 3))):
        begin = draw(st.integers(0, len(data)))
        end = min(begin + draw(st.integers(0, 4)), len(data))
        data[begin:end] = draw(st.binary(max_size=4) | st.just(bytes(data[begin : begin + 20])))
    return bytes(data)


def assert_split_as_by_protobuf(data: bytes):
    """Checks that split_reply fails as protobuf does, or has the same content bit for bit."""
    try:
        plain = ForwardReply.FromString(data)
    except DecodeError:
        with pytest.raises(DecodeError):
            split_reply(data)
        return
    split = split_reply(data)
    # Joined again, because reading single elements would lose the payload of a signalling NaN in protobuf 6.
    joined = join_reply(split.rest, values=split.values, index=split.index)
    assert ForwardReply.FromString(joined).SerializeToString() == plain.SerializeToString()


@given(rest=rests(), values=arrays("<f4"), index=st.none() | arrays("<i4"))
def test_protobuf_reads_joined_replies(rest, values, index):
    """Plain protobuf reads the rest and all elements of a joined reply, bit for bit."""
    unpacked = [rest.SerializeToString(), *(b"\x0d" + element.tobytes() for element in values)]
    unpacked += [b"\x25" + element.tobytes() for element in ([] if index is None else index)]

    joined = ForwardReply.FromString(join_reply(rest, values=values, index=index))

    assert joined.SerializeToString() == ForwardReply.FromString(b"".join(unpacked)).SerializeToString()


@given(
    rest=rests(), values=st.lists(st.floats(width=32, allow_nan=False)), index=st.lists(INT32, max_size=40)
)
def test_replies_written_by_protobuf_are_split(rest, values, index):
    """A reply written by plain protobuf is split into its elements."""
    plain = ForwardReply(values=values, index=index)
    plain.MergeFrom(rest)

    split = split_reply(plain.SerializeToString())

    assert split.values.tolist() == values
    assert split.index.tolist() == index
    assert split.rest.SerializeToString() == rest.SerializeToString()


@given(rest=rests(), values=arrays("<f4"), index=arrays("<i4"))
def test_joined_arrays_are_viewed_in_place_and_aligned(rest, values, index):
    """Joined replies are not copied, and their arrays are aligned whatever the size of the rest."""
    data = join_reply(rest, values=values, index=index)

    split = split_reply(data)

    memory = np.frombuffer(data, np.uint8)
    for array, expected in ((split.values, values), (split.index, index)):
        assert array.tobytes() == expected.tobytes()
        assert array.flags.aligned
        assert not array.flags.writeable
        assert np.shares_memory(array, memory) or not array.size


@given(data=st.lists(fields(), max_size=9).map(b"".join))
# Values in two pieces, the first a signalling NaN, and in three, one of them empty.
@example(b"\x0a\x04\x00\x00\xa0\x7f\x0a\x04\x00\x00\x80\x3f")
@example(b"\x0a\x04\x00\x00\xa0\x7f\x0a\x00\x0a\x04\x00\x00\x80\x3f")
# Both arrays unpacked.
@example(b"\x0d\x01\x00\xa0\xff\x25\x07\x00\x00\x00")
# Not a whole element; a length past the end; a truncated varint; an id that is not UTF-8.
@example(b"\x0a\x03\x00\x00\x80")
@example(b"\x0a\x08\x00\x00\x80\x3f")
@example(b"\x12\x00\x0a\xff\xff\xff\xff")
@example(b"\x32\x01\xff")
# Needless bytes of tag and length: as many as protobuf reads, and one more.
@example(b"\x8a\x80\x80\x80\x00\x84\x80\x80\x80\x00\x00\x00\x80\x3f")
@example(b"\x8a\x80\x80\x80\x80\x00\x04\x00\x00\x80\x3f")
@example(b"\x0a\x84\x80\x80\x80\x80\x00\x00\x00\x80\x3f")
def test_unusual_fields_are_split_as_by_protobuf(data):
    """For any sequence of fields, the split has protobuf's content or fails as protobuf does."""
    assert_split_as_by_protobuf(data)


@given(data=damaged_replies() | st.binary(max_size=40))
def test_damaged_bytes_are_split_as_by_protobuf(data):
    """Damaged bytes give protobuf's content or a DecodeError, never another array."""
    assert_split_as_by_protobuf(data)


@pytest.mark.parametrize("id_length", range(4))
@pytest.mark.parametrize("count", [1, 40, 5_000])
def test_pure_python_protobuf_reads_joined_replies(id_length, count):
    """A second implementation of protobuf reads the same reply, whatever the padding."""
    values, index = np.arange(count, dtype=np.float32), np.arange(count, dtype=np.int32)
    joined = join_reply(ForwardReply(id="a" * id_length), values=values, index=index)

    plain = subprocess.run(
        [sys.executable, "-c", REWRITE_REPLY],
        env={**os.environ, "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"},
        input=joined,
        capture_output=True,
        check=True,
        timeout=60,
    ).stdout

    assert plain == ForwardReply.FromString(joined).SerializeToString()


@pytest.mark.parametrize("position", range(4))
def test_padding_keeps_lengths_that_protobuf_reads(position):
    """A length has at most five bytes, also for an array of 256 MiB, which needs all five."""
    head = _head(0x0A, byte_count=2**28, position=position)

    assert head.removeprefix(b"\x0a\x00") == b"\x0a\x80\x80\x80\x80\x01"


def test_hostile_repetition_is_left_to_protobuf_at_once():
    """Python does not iterate over a million tiny fields: it stops at the first repetition."""
    data = b"\x12\x00" * 500_000 + b"\x0a\x04\x00\x00\x80\x3f"

    assert split_reply(data).values.tolist() == [1.0]


def test_empty_arrays_are_not_written():
    """Protobuf does not write empty fields either."""
    rest = ForwardReply(id="a")
    empty = np.zeros((3, 0, 2), np.float32)

    joined = join_reply(rest, values=empty, index=np.zeros(0, np.int32))

    assert joined == rest.SerializeToString()


@pytest.mark.parametrize("shape", [(3, 5, 2), (1,), (0,), (3, 0, 2), ()])
def test_values_of_any_shape_are_joined_row_by_row(shape):
    """The shape of `values` does not matter, not even one without elements."""
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)

    joined = ForwardReply.FromString(join_reply(ForwardReply(), values=values))

    assert list(joined.values) == values.ravel().tolist()


@pytest.mark.parametrize(
    "values",
    [np.zeros(3), np.zeros(3, ">f4"), np.zeros(3, np.int32), np.zeros((4, 6), np.float32)[:, ::2]],
    ids=["float64", "big-endian", "int32", "strided"],
)
def test_other_layouts_are_refused(values):
    """Memory other than contiguous little-endian float32 is a ValueError that names it."""
    with pytest.raises(ValueError, match=r"it must be <f4, C-contiguous"):
        join_reply(ForwardReply(), values=values)


def test_an_index_of_another_type_is_refused():
    """The index is int32, never a narrower or a wider integer."""
    with pytest.raises(ValueError, match=r"the array is <i8.*it must be <i4"):
        join_reply(ForwardReply(), values=np.zeros(1, np.float32), index=np.zeros(1, np.int64))


@pytest.mark.parametrize("rest", [ForwardReply(values=[1.0]), ForwardReply(index=[1])])
def test_a_rest_with_arrays_is_refused(rest):
    """A reader would concatenate repeated arrays, so they are a ValueError."""
    with pytest.raises(ValueError, match="of its own"):
        join_reply(rest, values=np.zeros(1, np.float32))


@given(
    rests(),
    arrays("<f4"),
    st.none() | arrays("<i4"),
    st.lists(arrays("<f4"), max_size=2),
    st.binary(max_size=9),
)
def test_a_message_written_in_place_has_the_bytes_of_a_joined_one(rest, values, index, states, trailer):
    """Also if the arrays of further fields are written after the message was allocated."""
    later = [np.zeros_like(state) for state in states]
    more = [b"\x7a", *(state.data for state in later if state.size)]
    message = ReplyMessage(rest, shape=(values.size, 1), index=index, more=more, trailer_size=len(trailer))
    message.values[:, 0] = values
    for state, computed in zip(later, states, strict=True):
        state[:] = computed
    assert message.values.flags.aligned
    joined = join_reply(rest, values=values, index=index, more=more, trailer=trailer)
    assert message.finish(trailer) == joined


def test_the_values_of_a_message_outlive_it():
    values = ReplyMessage(ForwardReply(), shape=(50_000,)).values
    values[:] = 1.0
    assert values.sum() == 50_000


@pytest.mark.parametrize("trailer", [b"", b"abcd"])
def test_a_trailer_of_another_size_than_announced_is_refused(trailer):
    with pytest.raises(ValueError, match="3 were announced"):
        ReplyMessage(ForwardReply(), shape=(1,), trailer_size=3).finish(trailer)


@given(rests(), arrays("<f4"), st.text(max_size=40), st.floats(), st.floats())
def test_a_trailer_parses_as_its_fields(rest, values, name, queue_s, compute_s):
    rest.ClearField("id")
    rest.ClearField("timing")
    trailer = reply_trailer(id_field=encode_id(name), queue_s=queue_s, compute_s=compute_s)
    assert len(trailer) == TIMING_BYTES + len(encode_id(name))
    joined = join_reply(rest, values=values, trailer=trailer)
    split = split_reply(joined)
    assert joined == join_reply(rest, values=values) + trailer
    assert split.values.tobytes() == values.tobytes()
    timing = Timing(queue_s=queue_s, compute_s=compute_s)
    assert split.rest.id == name
    assert split.rest.timing.SerializeToString() == timing.SerializeToString()


@given(rests(), arrays("<f4"), st.text(max_size=20), st.none() | st.tuples(st.floats(0, 9), st.floats(0, 9)))
def test_a_trailer_is_found_at_the_end_of_a_reply(rest, values, name, timing):
    """With and without an id, and on cached replies, which have no timing."""
    id_field = encode_id(name)
    trailer = id_field
    if timing is not None:
        trailer = reply_trailer(id_field=id_field, queue_s=timing[0], compute_s=timing[1])
    rest.ClearField("timing")
    body = join_reply(rest, values=values)
    begin, *times = find_trailer(body + trailer, id_field)
    assert begin == len(body)
    np.testing.assert_array_equal(times, [np.nan, np.nan] if timing is None else timing)


@given(st.text(max_size=140), st.lists(st.text(max_size=5), max_size=3))
def test_splitting_off_an_id_keeps_both_parts(name, words):
    request = ForwardRequest(words=words, hidden_size=2, id=name).SerializeToString()
    question, id_field = split_id(request)
    if id_field:
        assert ForwardRequest.FromString(question) == ForwardRequest(words=words, hidden_size=2)
        assert id_field == encode_id(name)
    else:
        assert question == request
        assert not name or not name.isascii() or len(name) > 127


STATES = st.tuples(arrays("<f4"), st.none() | arrays("<f4"), st.text(max_size=20))


def assert_state(state, *, h, c, digest):
    """Checks that a parsed State has the original arrays."""
    assert (list(state.h_shape), list(state.c_shape)) == ([1, h.size], [] if c is None else [1, c.size])
    assert state.network_digest == digest
    # Through Python's floats a signalling NaN becomes a quiet one.
    np.testing.assert_array_equal(np.array(state.h, "<f4"), h)
    np.testing.assert_array_equal(np.array(state.c, "<f4"), [] if c is None else c)


def field_of(number, *, h, c, digest):
    """Returns the encoded state field, its arrays with one row."""
    return b"".join(
        state_field(
            number, h=h.reshape(1, -1), c=None if c is None else c.reshape(1, -1), network_digest=digest
        )
    )


@given(STATES)
def test_a_final_state_parses_as_its_field(state):
    h, c, digest = state
    field = field_of(ForwardReply.FINAL_STATE_FIELD_NUMBER, h=h, c=c, digest=digest)
    assert_state(ForwardReply.FromString(field).final_state, h=h, c=c, digest=digest)


@given(STATES, st.text(max_size=140), st.lists(st.text(max_size=5), max_size=3))
def test_an_initial_state_precedes_the_rest_of_its_request(state, name, words):
    """The request gains the state, and its id can still be split off the end."""
    h, c, digest = state
    rest = ForwardRequest(words=words, hidden_size=2, id=name)
    field = field_of(ForwardRequest.INITIAL_STATE_FIELD_NUMBER, h=h, c=c, digest=digest)
    request = ForwardRequest.FromString(field + rest.SerializeToString())
    assert_state(request.initial_state, h=h, c=c, digest=digest)
    request.ClearField("initial_state")
    assert request == rest
    question, id_field = split_id(rest.SerializeToString())
    if id_field:
        assert split_id(field + rest.SerializeToString()) == (field + question, id_field)


@pytest.mark.parametrize(
    "h", [np.zeros((1, 2)), np.zeros((4, 6), np.float32)[:, ::2]], ids=["float64", "strided"]
)
def test_a_state_of_another_layout_is_refused(h):
    with pytest.raises(ValueError, match=r"it must be <f4, C-contiguous"):
        state_field(7, h=h, c=None, network_digest="")
