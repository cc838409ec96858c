"""Arguments to bytes, bytes to results."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unrolled.v1 import forward_pb2 as pb
from unrolled.v1.wire import join_reply
from unrolled_client import InvalidRequestError, ProtocolError, derive_alphabet
from unrolled_client._messages import request
from unrolled_client._messages.decoding import decode_reply, decode_server_info
from unrolled_client._messages.validation import check_request

LETTERS = st.characters(exclude_categories=["Cs"])
WORDS = st.lists(st.text(LETTERS, min_size=1, max_size=8), min_size=1, max_size=8)
LESSON = ["hello", "eolll", "lleel"]


def encode(words=LESSON, **changes):
    """A request with the lesson's arguments, but for the changes."""
    arguments = {"hidden_size": 2, "seed": 0, "alphabet": None, "layout": "batch_first"}
    return request.encode(check_request(words, **{**arguments, **changes}))


def reply(*, shape=(3, 5, 2), lengths=(5, 5, 5), values=30, index=None):
    """The bytes of a reply that answers the lesson, but for the changes."""
    rest = pb.ForwardReply(shape=shape, lengths=lengths, fingerprint="f00d")
    return join_reply(rest, values=np.arange(values, dtype=np.float32), index=index)


@given(WORDS)
def test_the_derived_alphabet_is_every_symbol_once_in_order(words):
    """The alphabet lists each code point of the call where it first appears."""
    text = "".join(words)
    alphabet = derive_alphabet(words)
    assert set(alphabet) == set(text)
    assert [text.index(symbol) for symbol in alphabet] == sorted({text.index(symbol) for symbol in text})


@given(WORDS, st.integers(-(2**63), 2**64 - 1), st.integers(-(2**31), 2**31 - 1))
def test_a_request_says_what_was_asked(words, seed, hidden_size):
    """Words, numbers and the derived alphabet stand on the wire as given."""
    encoded = encode(words, hidden_size=hidden_size, seed=seed)
    request = pb.ForwardRequest.FromString(encoded.data)
    assert list(request.words) == words
    assert (request.seed % 2**64, request.hidden_size) == (seed % 2**64, hidden_size)
    assert encoded.request.seed == seed
    assert request.alphabet == encoded.request.alphabet == derive_alphabet(words)
    assert (encoded.request.lengths, encoded.request.hidden) == ([len(word) for word in words], hidden_size)


def test_a_given_alphabet_and_layout_are_sent():
    """What the caller names is sent as it is; combining marks stay letters of their own."""
    request = pb.ForwardRequest.FromString(encode(["e\u0301"], alphabet="\u0301ea", layout="seq_first").data)
    assert (request.alphabet, request.layout) == ("\u0301ea", pb.LAYOUT_SEQ_FIRST)
    assert request.words == ["e\u0301"]


def test_any_iterable_of_words_and_numpys_integers_do():
    """Generators, numpy strings and numpy integers are as good as lists and ints."""
    plain = encode(["ab", "b"])
    assert encode(word for word in ("ab", "b")) == plain
    assert encode(np.array(["ab", "b"]), hidden_size=np.int64(2), seed=np.int32(0)) == plain


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"words": "hello"}, r"words is one str; pass a list of words, such as \['hello'\]"),
        ({"words": b"hello"}, "words is one bytes"),
        ({"words": ["a", 3]}, r"words\[1\] is 3 \(int\); every word is a str"),
        ({"words": ["a", "b", b"c"]}, r"words\[2\] is b'c' \(bytes\)"),
        ({"words": 3}, "words is one int"),
        ({"alphabet": ["a", "b"]}, r"alphabet is \['a', 'b'\] \(list\)"),
        ({"hidden_size": 2.0}, r"hidden_size is 2\.0 \(float\); pass an int, such as 2"),
        ({"seed": "0"}, r"seed is '0' \(str\); pass an int, such as 0"),
    ],
)
def test_wrong_types_are_named(changes, message):
    """A value of the wrong type is a TypeError that says which, before anything is sent."""
    with pytest.raises(TypeError, match=message):
        encode(**changes)


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"hidden_size": 2**31}, "hidden_size", "hidden_size is 2147483648; it must be from"),
        ({"seed": -(2**63) - 1}, "seed", "to 18446744073709551615"),
        ({"seed": 2**64}, "seed", "from -9223372036854775808"),
        ({"layout": "time_first"}, "layout", "one of batch_first, seq_first"),
        ({"words": ["ok", "a\ud800"]}, "words[1]", "lone surrogate"),
        ({"alphabet": "helo\udfff"}, "alphabet", "lone surrogate"),
    ],
)
def test_what_the_contract_cannot_carry_is_an_invalid_request(changes, field, message):
    """Values beyond the wire's types are refused by field, before anything is sent."""
    with pytest.raises(InvalidRequestError, match=message) as caught:
        encode(**changes)
    assert caught.value.code is None
    assert [violation.field for violation in caught.value.violations] == [field]


def test_a_reply_becomes_an_array_that_owns_its_memory():
    """The outputs have the reply's shape, can be written to and keep no message alive."""
    result = decode_reply(reply(), encode())
    assert result.outputs.shape == (3, 5, 2)
    assert result.outputs.dtype == np.dtype(np.float32)
    assert result.outputs.flags.owndata
    assert result.outputs.flags.writeable
    assert result.outputs.flags.c_contiguous
    assert result.outputs.ravel().tolist() == list(range(30))
    assert (result.lengths.tolist(), result.alphabet, result.fingerprint) == ([5, 5, 5], "helo", "f00d")


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.integers(1, 4))
def test_every_reply_that_fits_is_decoded(lengths, hidden):
    """Whatever the lengths, a reply that agrees with its request keeps every value."""
    shape = (len(lengths), max(lengths), hidden)
    request = encode(["x" * length for length in lengths], hidden_size=hidden)
    data = reply(shape=shape, lengths=lengths, values=int(np.prod(shape)))
    result = decode_reply(data, request)
    assert np.array_equal(result.outputs, np.arange(np.prod(shape), dtype=np.float32).reshape(shape))


@pytest.mark.parametrize(
    "changes",
    [
        {"values": 29},
        {"values": 31},
        {"values": 0},
        {"shape": (5, 3, 2)},
        {"shape": (3, 10)},
        {"shape": ()},
        {"shape": (-3, -5, 2)},
        {"shape": (3, 6, 2), "values": 36},
        {"shape": (3, 5, 3), "values": 45},
        {"shape": (2, 5, 2), "lengths": (5, 5), "values": 20},
        {"lengths": (5, 5)},
        {"lengths": ()},
        {"lengths": (5, 5, 6)},
        {"lengths": (5, 4, 5)},
        {"lengths": (5, 5, 0)},
        {"lengths": (5, 5, -1)},
        {"index": np.arange(15, dtype=np.int32)},
    ],
    ids=str,
)
def test_a_reply_that_does_not_fit_is_no_array(changes):
    """Values, shape and lengths that disagree with each other or the request are a ProtocolError."""
    with pytest.raises(ProtocolError, match="does not fit"):
        decode_reply(reply(**changes), encode())


def test_an_answer_to_an_empty_word_is_no_array():
    """A server that takes empty words, against the contract, gives no result: they have no last state."""
    with pytest.raises(ProtocolError):
        decode_reply(reply(shape=(2, 1, 2), lengths=(1, 0), values=4), encode(["a", ""]))


@pytest.mark.parametrize("decode", [lambda data: decode_reply(data, encode()), decode_server_info])
def test_bytes_that_are_no_message_are_an_error(decode):
    """A truncated message is a ProtocolError."""
    with pytest.raises(ProtocolError, match="3 bytes"):
        decode(b"\x0a\xff\x01")


@given(st.binary(max_size=60))
def test_hostile_bytes_give_a_protocol_error(data):
    """Bytes that no server sends never become a result, nor any other exception."""
    with pytest.raises(ProtocolError):
        decode_reply(data, encode())


def test_server_info_has_every_field_that_the_contract_sends():
    """Version, device, instruction set, fingerprint, all limits and all tables of vectors arrive."""
    limits = {name: 10 + at for at, name in enumerate(pb.Limits.DESCRIPTOR.fields_by_name)}
    texts = {"version": "1.2.3", "torch_version": "2.13", "device": "cpu", "fingerprint": "f00d"}
    texts["instruction_set"] = "avx2"
    vectors = [{"name": name, "word_count": 400_000, "size": 300, "digest": "beef"} for name in ("a", "b")]
    reply = pb.GetServerInfoReply(**texts, limits=limits, vectors=[pb.Vectors(**table) for table in vectors])
    info = decode_server_info(reply.SerializeToString())
    assert dataclasses.asdict(info) == {**texts, "limits": limits, "vectors": tuple(vectors)}
