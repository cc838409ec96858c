"""A cached reply equals the computed one, whatever bytes the request contains."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from unrolled.v1 import forward_pb2 as pb
from unrolled.v1.wire import encode_id, reply_trailer
from unrolled_server.rpc.reply_cache import ENTRY_BYTES, MAX_REPLY_BYTES, MAX_REQUEST_BYTES, ReplyCache

BODY = pb.ForwardReply(shape=[1, 2, 3], fingerprint="f").SerializeToString()
# These letters can form the start of an id field: the tag "Z", then a length such as "\x02".
TEXT = st.text(alphabet="Z\x01\x02\x03ab", max_size=8)


def requests(**fields):
    """Builds requests whose text may look like an id field."""
    drawn = {"words": st.lists(TEXT, max_size=3), "alphabet": TEXT, "id": TEXT} | fields
    return st.builds(pb.ForwardRequest, **drawn)


def store(replies, request, *, body=BODY):
    """Stores a reply in the form in which it was sent."""
    id_field = encode_id(request.id)
    trailer = reply_trailer(id_field=id_field, queue_s=0.0, compute_s=1e-5)
    replies.put(request.SerializeToString(), body + trailer, id_field=id_field)


def test_a_request_that_differs_only_in_its_id_gets_the_reply_with_its_own_id():
    replies = ReplyCache(max_bytes=1 << 20)
    store(replies, pb.ForwardRequest(words=["ab"], hidden_size=3, id="first"))
    for name in ("", "second", "x" * 127):
        found = replies.get(pb.ForwardRequest(words=["ab"], hidden_size=3, id=name).SerializeToString())
        assert pb.ForwardReply.FromString(found) == pb.ForwardReply(shape=[1, 2, 3], fingerprint="f", id=name)


@pytest.mark.parametrize(
    "fields", [{"id": "7", "return_final_state": True}, {"id": "é"}, {"id": "x" * 128}], ids=str
)
def test_a_request_whose_id_is_not_the_last_field_is_not_cached(fields):
    """Also an id with non-ASCII letters or of more than 127 bytes: the cache cannot replace it."""
    replies, request = ReplyCache(max_bytes=1 << 20), pb.ForwardRequest(words=["ab"], hidden_size=3, **fields)
    store(replies, request)
    assert replies.get(request.SerializeToString()) is None


@given(requests(), requests())
@example(pb.ForwardRequest(words=["Z\x01a"], id="a"), pb.ForwardRequest(words=["Z\x01b"], id="a"))
@example(pb.ForwardRequest(alphabet="Z\x01a"), pb.ForwardRequest(id="a"))
@example(pb.ForwardRequest(id="Z\x01a"), pb.ForwardRequest(id="Z\x01b"))
def test_no_other_request_gets_the_reply(request, other):
    replies = ReplyCache(max_bytes=1 << 20)
    store(replies, request)
    found = replies.get(other.SerializeToString())
    name = other.id
    request.ClearField("id")
    other.ClearField("id")
    if request != other:
        assert found is None
    elif found is not None:
        assert pb.ForwardReply.FromString(found).id == name


@given(requests(alphabet=st.just("ab")), st.binary(max_size=20))
def test_malformed_requests_get_no_reply(request, tail):
    replies = ReplyCache(max_bytes=1 << 20)
    store(replies, request)
    data = request.SerializeToString() + tail
    if replies.get(data) is not None:
        pb.ForwardRequest.FromString(data)  # raises DecodeError


@pytest.mark.parametrize(
    ("request_size", "reply_size"), [(MAX_REQUEST_BYTES + 10, 1), (1, MAX_REPLY_BYTES + 10)]
)
def test_large_requests_and_replies_are_not_cached(request_size, reply_size):
    replies, request = ReplyCache(max_bytes=1 << 20), pb.ForwardRequest(words=["a" * request_size])
    store(replies, request, body=b"b" * reply_size)
    assert replies.get(request.SerializeToString()) is None


def test_memory_is_bounded_and_recently_used_replies_stay():
    replies = ReplyCache(max_bytes=40 * (ENTRY_BYTES + len(BODY) + 5))
    held = []
    store(replies, pb.ForwardRequest(hidden_size=1, seed=1 << 40))
    for seed in range(1, 200):
        store(replies, pb.ForwardRequest(hidden_size=1, seed=seed))
        assert replies.get(pb.ForwardRequest(hidden_size=1, seed=1 << 40).SerializeToString())
        asked = (pb.ForwardRequest(hidden_size=1, seed=at).SerializeToString() for at in range(1, 200))
        held.append(sum(data in replies for data in asked))
    assert 10 < max(held) <= 41


def test_a_size_of_0_disables_the_cache():
    replies, request = ReplyCache(max_bytes=0), pb.ForwardRequest(words=["ab"])
    store(replies, request)
    assert replies.get(request.SerializeToString()) is None
