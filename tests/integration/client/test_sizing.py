"""One call in parts: the plan, the array, and the same bits as one request."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unrolled.v1 import forward_pb2 as pb
from unrolled.v1.wire import join_reply
from unrolled_client import FieldViolation, InvalidRequestError, ProtocolError
from unrolled_client._messages.decoding import decode_reply, parse_reply
from unrolled_client._messages.request import encode
from unrolled_client._messages.validation import check_request
from unrolled_client._streaming import parts, sizing
from unrolled_client._streaming.calls import Whole, assemble
from unrolled_client._streaming.parts import InParts
from unrolled_client._streaming.sizing import encode_whole, is_bulk, new_state_counts
from unrolled_client.network import DEFAULT_NETWORK
from unrolled_client.results import Limits

LETTERS = st.characters(exclude_categories=["Cs"])
WORDS = st.lists(st.text(LETTERS, min_size=1, max_size=9), min_size=1, max_size=40)
SIMILAR_WORDS = st.lists(st.text("ab한😀", min_size=1, max_size=9), min_size=1, max_size=80)
LIMITS = Limits(
    max_words=65_536,
    max_word_length=1_024,
    max_hidden_size=4_096,
    max_alphabet_size=16_384,
    max_request_bytes=32 << 20,
    max_reply_bytes=32 << 20,
)


def limited(**changes):
    """The usual limits, but for the changes."""
    return Limits(**{name: getattr(LIMITS, name) for name in Limits.__slots__} | changes)


def asked(words, *, hidden=3, layout="batch_first"):
    """A request for these words."""
    return check_request(words, hidden_size=hidden, seed=0, alphabet=None, layout=layout)


def answered(assembly, reply_to, *, order=None):
    """What comes of an assembly whose requests are answered in some order."""
    for at in order or range(assembly.part_count):
        request = assembly.encode(at, request_id=str(at))
        assembly.place(at, parse_reply(reply_to(request.data)), request=request)
    return assembly.result()


def as_one(request, reply_to):
    """The dense reply to one request."""
    encoded = encode(request)
    return decode_reply(reply_to(encoded.data), encoded)


@given(st.one_of(WORDS, SIMILAR_WORDS), st.integers(1, 5), st.randoms())
def test_parts_give_what_one_request_gives(reply_to, words, max_words, random):
    """Whatever the words, the size of the parts and the order of the replies, the array is the same."""
    request = asked(words)
    assembly = InParts(request, limits=limited(max_words=max_words))
    order = list(range(assembly.part_count))
    random.shuffle(order)
    result, expected = answered(assembly, reply_to, order=order), as_one(request, reply_to)
    assert np.array_equal(result.outputs, expected.outputs)
    assert result.outputs.flags.owndata
    assert np.array_equal(result.lengths, expected.lengths)
    assert (result.alphabet, result.fingerprint) == (expected.alphabet, expected.fingerprint)


@given(SIMILAR_WORDS)
def test_the_distinct_form_gives_what_the_dense_form_gives(reply_to, words):
    """A reply that sends each state once becomes the same array."""
    distinct = encode(asked(words), is_distinct=True)
    assert np.array_equal(
        decode_reply(reply_to(distinct.data), distinct).outputs, as_one(asked(words), reply_to).outputs
    )


@given(SIMILAR_WORDS)
def test_the_distinct_prefixes_are_counted(words):
    """In a sorted list the new symbols of all words are the distinct prefixes."""
    prefixes = {word[: at + 1] for word in words for at in range(len(word))}
    assert new_state_counts(sorted(set(words)), DEFAULT_NETWORK).sum() == len(prefixes)


@given(SIMILAR_WORDS, st.integers(1, 9), st.integers(12, 4_000))
def test_no_part_is_beyond_the_servers_limits(words, max_words, max_reply_bytes):
    """Each part has at most max_words words and max_reply_bytes of dense array, unless one word has more."""
    limits = limited(max_words=max_words, max_reply_bytes=max_reply_bytes)
    assembly = InParts(asked(words), limits=limits)
    sent = []
    for at in range(assembly.part_count):
        request = pb.ForwardRequest.FromString(assembly.encode(at, request_id="").data)
        assert len(request.words) <= max_words
        dense = len(request.words) * max(map(len, request.words)) * 3 * 4
        assert dense <= max_reply_bytes or len(request.words) == 1
        sent += request.words
    assert sent == sorted(set(words))  # once each


def test_large_calls_are_cut_by_the_bytes_of_their_replies():
    """Parts of many words have about PART_BYTES each."""
    words = [f"{number:06d}" for number in range(20_000)]
    assembly = InParts(asked(words, hidden=256), limits=LIMITS)
    sizes = [assembly.reply_bytes(at) for at in range(assembly.part_count)]
    assert len(sizes) > 10
    assert max(sizes) < 1.2 * parts.PART_BYTES
    assert min(sizes[:-1]) > 0.8 * parts.PART_BYTES


def test_what_is_small_or_runs_along_the_words_stays_whole():
    """Only a large call with layout batch_first travels in parts."""
    words = ["abcdefghij"] * 5_000
    assert is_bulk(asked(words), LIMITS)
    assert isinstance(assemble(asked(words), limits=LIMITS), InParts)
    assert not is_bulk(asked(words, layout="seq_first"), LIMITS)
    assert not is_bulk(asked(words[:100]), LIMITS)
    assert is_bulk(asked(words[:100]), limited(max_words=99))
    assert is_bulk(asked(words[:100]), limited(max_reply_bytes=11_999))
    assert not is_bulk(asked(words, hidden=-3), LIMITS)  # for the server to refuse
    assert isinstance(assemble(asked(["a"]), limits=LIMITS), Whole)


@pytest.mark.parametrize(
    ("words", "layout", "form"),
    [
        (["abcdefghij"] * 1_000, "batch_first", pb.REPLY_FORM_DISTINCT),
        (["abcdefghij"] * 1_000, "seq_first", pb.REPLY_FORM_UNSPECIFIED),
        ([chr(0x4E00 + at) for at in range(5_000)], "batch_first", pb.REPLY_FORM_UNSPECIFIED),
        (["abcdefghij"], "batch_first", pb.REPLY_FORM_UNSPECIFIED),
    ],
    ids=["alike", "along the words", "nothing shared", "small"],
)
def test_the_form_is_chosen_from_the_words(words, layout, form):
    """The distinct form is asked for where prefixes are shared and the array is large."""
    request = pb.ForwardRequest.FromString(encode_whole(asked(words, hidden=16, layout=layout)).data)
    assert request.reply_form == form


def test_a_refusal_names_the_callers_words():
    """Indices in a part's error become those of the caller; a repeated word goes by its first place."""
    assembly = InParts(asked(["c", "b", "a", "b"]), limits=limited(max_words=2))
    error = InvalidRequestError(
        "words[1] is bad", violations=(FieldViolation(field="words[1]", description="words[1] is bad"),)
    )
    renamed = assembly.renamed(0, error)  # the part has a and b
    assert (renamed.message, renamed.violations[0].field) == ("words[1] is bad", "words[1]")
    renamed = assembly.renamed(1, InvalidRequestError("words[0] is bad"))  # c
    assert renamed.message == "words[0] is bad"
    assert assembly.renamed(0, InvalidRequestError("words[0] is bad")).message == "words[2] is bad"


def test_servers_of_other_bits_are_noticed(reply_to):
    """Parts that come with different fingerprints are an error, because their bits may differ."""
    assembly = InParts(asked(["a", "b"]), limits=limited(max_words=1))
    first, second = (assembly.encode(at, request_id="") for at in range(2))
    assembly.place(0, parse_reply(reply_to(first.data)), request=first)
    other = parse_reply(reply_to(second.data))
    other.rest.fingerprint = "beef"
    with pytest.raises(ProtocolError, match="different bits"):
        assembly.place(1, other, request=second)


@pytest.mark.parametrize(
    ("rows", "index"),
    [(3, [[0, 1], [1, 3]]), (3, [[0, 1], [1, -1]]), (3, [[0, 1, 1]]), (0, [[0, 0], [0, 0]]), (3, [])],
    ids=["beyond the rows", "negative", "too few", "no rows", "none"],
)
def test_an_index_that_leads_nowhere_is_no_array(rows, index):
    """A distinct reply whose index does not fit its rows or the request is a ProtocolError."""
    request = encode(asked(["ab", "cd"]), is_distinct=True)
    rest = pb.ForwardReply(shape=(2, 2, 3), lengths=(2, 2))
    data = join_reply(rest, values=np.zeros((rows, 3), np.float32), index=np.array(index, np.int32))
    with pytest.raises(ProtocolError, match="does not fit"):
        decode_reply(data, request)


def test_lone_surrogates_are_found_before_anything_is_sent():
    """A word that UTF-8 cannot carry is named by the caller's index, in parts too."""
    with pytest.raises(InvalidRequestError, match=r"words\[1\]"):
        assemble(asked(["b", "a\ud800", "c"]), limits=limited(max_words=1))


WORDS_OF_ALL_KINDS = [
    "hello",
    "hell",
    "한글",
    "e\u0301😀",
    "z",
    "hello",
    "x" * 40,
    "한글날",
    "nul\0",
    "nul",
] * 20


def test_the_real_server_gives_the_same_bits_in_parts(
    make_client, server_address, in_small_parts, monkeypatch
):
    """Unicode, unequal lengths, duplicates, many parts: the bits are those of one request."""
    with make_client(server_address) as client:
        call = partial(client.forward, WORDS_OF_ALL_KINDS, hidden_size=17, seed=5)
        in_parts = call()
        monkeypatch.setattr(sizing, "MAX_WHOLE_BYTES", 1 << 30)
        monkeypatch.setattr(sizing, "MAX_DISTINCT_SHARE", 0)
        whole = call()
    assert np.array_equal(in_parts.outputs.view(np.int32), whole.outputs.view(np.int32))
    assert in_parts.alphabet == whole.alphabet
    assert np.array_equal(in_parts.h_n, whole.h_n)


def test_calls_beyond_the_servers_limits_work(make_client, server_address):
    """70,000 words, and a reply larger than a server sends in one message, are one call."""
    words = [f"{number:x}" for number in range(70_000)]
    with make_client(server_address) as client:
        result = client.forward(words, hidden_size=32, alphabet="0123456789abcdef")
        assert result.outputs.shape == (70_000, 5, 32)
        assert result.outputs.nbytes > client.server_info().limits.max_reply_bytes
        few = client.forward(words[-3:], hidden_size=32, alphabet="0123456789abcdef")
    assert np.array_equal(result.outputs[-3:], few.outputs)


@pytest.mark.parametrize(
    ("words", "field"),
    [(["ok"] * 5_000 + ["a?"], "words[5000]"), (["b"] * 3 + [""] + ["ok"] * 5_000, "words[3]")],
)
def test_the_servers_refusal_of_a_part_names_the_callers_word(make_client, server_address, words, field):
    """A bad word far down in a bulk call is named by its place in the call."""
    with make_client(server_address) as client, pytest.raises(InvalidRequestError) as caught:
        client.forward(words, hidden_size=2, alphabet="okab")
    assert [violation.field for violation in caught.value.violations] == [field]
    assert caught.value.message.startswith(field) or field in caught.value.message
