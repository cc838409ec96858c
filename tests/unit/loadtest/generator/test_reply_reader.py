"""The part of a reply that must be equal bit for bit, from any protobuf implementation."""

import math

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from unrolled.v1 import forward_pb2 as pb
from unrolled.v1.wire import encode_id, join_reply, reply_trailer, split_reply
from unrolled_loadtest.generator.reply_reader import has_trailer, read_fields, read_reply, read_with_trailer

VALUES = np.arange(6, dtype=np.float32)


def ours(*, name="", timing=(0.25, 0.5), values=VALUES, **more):
    rest = pb.ForwardReply(shape=(1, 3, 2), lengths=[3], fingerprint="f00d", **more)
    id_field = encode_id(name)
    trailer = (
        id_field
        if timing is None
        else reply_trailer(id_field=id_field, queue_s=timing[0], compute_s=timing[1])
    )
    return join_reply(rest, values=values, trailer=trailer)


def as_protobuf_writes(data):
    return pb.ForwardReply.FromString(data).SerializeToString()


@pytest.mark.parametrize("write", [bytes, as_protobuf_writes])
def test_ids_and_times_are_not_compared_and_values_are(write):
    first, again, other = (
        read_reply(write(data))
        for data in (ours(), ours(name="7", timing=(1.0, 2.0)), ours(values=np.nextafter(VALUES, 9)))
    )
    assert bytes(first.bits) != bytes(other.bits)
    if write is as_protobuf_writes:
        assert bytes(first.bits) == bytes(again.bits)
    assert (first.queue_s, first.compute_s, first.code) == (0.25, 0.5, 0)


def test_on_a_stream_the_id_is_read_and_not_compared():
    replies = [ours(name=name, timing=timing) for name, timing in (("00000001", (1, 2)), ("00000002", None))]
    first, kept = (read_with_trailer(reply, reply[-10:]) for reply in replies)
    assert all(map(has_trailer, replies))
    assert bytes(first.bits) == bytes(kept.bits) == bytes(read_reply(ours()).bits)
    assert (first.queue_s, first.compute_s) == (1, 2)
    assert math.isnan(kept.queue_s)


@pytest.mark.parametrize("field", ["values", "lengths", "shape", "index", "final_state"])
def test_every_array_of_a_reply_is_compared(field):
    message = pb.ForwardReply.FromString(ours())
    before = read_fields(split_reply(message.SerializeToString()))
    if field == "final_state":
        message.final_state.h.append(0.5)
    else:
        getattr(message, field).append(1)
    assert read_fields(split_reply(message.SerializeToString())).bits != before.bits


def test_a_refusal_on_a_stream_has_its_code():
    message = pb.ForwardReply(id="1", error=pb.RequestError(code=8, message="busy"))
    data = message.SerializeToString()
    assert not has_trailer(data)
    assert read_fields(split_reply(data)).code == 8


@pytest.mark.parametrize("data", [b"\xff\xff", b"\x0a\x09"])
def test_malformed_replies_are_an_error(data):
    with pytest.raises(DecodeError):
        read_reply(data)
