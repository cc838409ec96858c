"""A reply that was sent before is the reply that would be computed, whatever the bytes look like."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from unrolled.v1 import forward_pb2 as pb
from unrolled.v1.wire import encode_id, reply_trailer
from unrolled_server.rpc.reply_cache import ENTRY_BYTES, MAX_REPLY_BYTES, MAX_REQUEST_BYTES, ReplyCache

BODY = pb.ForwardReply(shape=[1, 2, 3], fingerprint="f").SerializeToString()
# Letters of which an id's head may be made: its tag is "Z", its length a character such as "\x02".
TEXT = st.text(alphabet="Z\x01\x02\x03ab", max_size=8)


def requests(**fields):
    """Requests whose text may look like an id."""
    drawn = {"words": st.lists(TEXT, max_size=3), "alphabet": TEXT, "id": TEXT} | fields
    return st.builds(pb.ForwardRequest, **drawn)


def stored(replies, request, *, body=BODY):
    """Keeps a reply as it went over the wire."""
    id_field = encode_id(request.id)
    trailer = reply_trailer(id_field=id_field, queue_s=0.0, compute_s=1e-5)
    replies.put(request.SerializeToString(), body + trailer, id_field=id_field)


def test_a_request_that_differs_in_its_id_alone_gets_the_same_reply_with_its_own_id():
    replies = ReplyCache(max_bytes=1 << 20)
    stored(replies, pb.ForwardRequest(words=["ab"], hidden_size=3, id="first"))
    for name in ("", "second", "x" * 127):
        found = replies.get(pb.ForwardRequest(words=["ab"], hidden_size=3, id=name).SerializeToString())
        assert pb.ForwardReply.FromString(found) == pb.ForwardReply(shape=[1, 2, 3], fingerprint="f", id=name)


@pytest.mark.parametrize(
    "fields", [{"id": "7", "return_final_state": True}, {"id": "é"}, {"id": "x" * 128}], ids=str
)
def test_an_id_that_does_not_end_its_message_comes_back_every_time(fields):
    """Such a reply is not kept, so that it is made anew, id and all."""
    replies, request = ReplyCache(max_bytes=1 << 20), pb.ForwardRequest(words=["ab"], hidden_size=3, **fields)
    stored(replies, request)
    assert replies.get(request.SerializeToString()) is None


@given(requests(), requests())
@example(pb.ForwardRequest(words=["Z\x01a"], id="a"), pb.ForwardRequest(words=["Z\x01b"], id="a"))
@example(pb.ForwardRequest(alphabet="Z\x01a"), pb.ForwardRequest(id="a"))
@example(pb.ForwardRequest(id="Z\x01a"), pb.ForwardRequest(id="Z\x01b"))
def test_no_other_request_ever_gets_the_reply(request, other):
    replies = ReplyCache(max_bytes=1 << 20)
    stored(replies, request)
    found = replies.get(other.SerializeToString())
    name = other.id
    request.ClearField("id")
    other.ClearField("id")
    if request != other:
        assert found is None
    elif found is not None:
        assert pb.ForwardReply.FromString(found).id == name


@given(requests(alphabet=st.just("ab")), st.binary(max_size=20))
def test_bytes_that_are_no_request_get_no_reply(request, tail):
    replies = ReplyCache(max_bytes=1 << 20)
    stored(replies, request)
    data = request.SerializeToString() + tail
    if replies.get(data) is not None:
        pb.ForwardRequest.FromString(data)  # raises DecodeError


@pytest.mark.parametrize(
    ("request_size", "reply_size"), [(MAX_REQUEST_BYTES + 10, 1), (1, MAX_REPLY_BYTES + 10)]
)
def test_what_is_not_small_is_not_kept(request_size, reply_size):
    replies, request = ReplyCache(max_bytes=1 << 20), pb.ForwardRequest(words=["a" * request_size])
    stored(replies, request, body=b"b" * reply_size)
    assert replies.get(request.SerializeToString()) is None


def test_memory_is_bounded_and_what_is_asked_for_stays():
    replies = ReplyCache(max_bytes=40 * (ENTRY_BYTES + len(BODY) + 5))
    held = []
    stored(replies, pb.ForwardRequest(hidden_size=1, seed=1 << 40))
    for seed in range(1, 200):
        stored(replies, pb.ForwardRequest(hidden_size=1, seed=seed))
        assert replies.get(pb.ForwardRequest(hidden_size=1, seed=1 << 40).SerializeToString())
        asked = (pb.ForwardRequest(hidden_size=1, seed=at).SerializeToString() for at in range(1, 200))
        held.append(sum(data in replies for data in asked))
    assert 10 < max(held) <= 41


def test_without_memory_nothing_is_kept():
    replies, request = ReplyCache(max_bytes=0), pb.ForwardRequest(words=["ab"])
    stored(replies, request)
    assert replies.get(request.SerializeToString()) is None
