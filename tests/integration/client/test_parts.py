"""Calls in parts with more to place than states: pooled outputs, last states, states to start from."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unrolled.v1 import forward_pb2 as pb
from unrolled.v1.wire import join_reply
from unrolled_client import InvalidRequestError, ProtocolError
from unrolled_client._messages.decoding import decode_reply, parse_reply
from unrolled_client._messages.request import encode
from unrolled_client._messages.validation import check_request
from unrolled_client._streaming.parts import InParts
from unrolled_client._streaming.sizing import is_bulk
from unrolled_client.results import Limits

LIMITS = Limits(
    max_words=7,
    max_word_length=1_024,
    max_hidden_size=4_096,
    max_alphabet_size=16_384,
    max_request_bytes=32 << 20,
    max_reply_bytes=32 << 20,
)
WORDS = st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=40)
KINDS = [
    {"output": "last"},
    {"output": "max", "return_final_state": True, "cell": "lstm", "proj_size": 2},
    {"return_final_state": True, "num_layers": 2},
    {"cell": "gru", "bidirectional": True, "return_final_state": True},
]


def asked(words, *, options, is_started=False, hidden_size=3):
    """A request, from zeros or from a state that numbers its words."""
    arguments = {"hidden_size": hidden_size, "seed": 0, "alphabet": "ab", "layout": "batch_first"}
    plain = check_request(words, **arguments, options=options)
    if not is_started:
        return plain
    places = np.arange(len(words), dtype=np.float32)[:, np.newaxis]
    h_shape = plain.network.h_shape(hidden_size, batch=len(words))
    c_shape = plain.network.c_shape(hidden_size, batch=len(words))
    h, c = np.broadcast_to(places, h_shape), c_shape and np.broadcast_to(places, c_shape)
    return check_request(words, **arguments, options=options, initial_state=(h, c))


def answer(data, *, request):
    """A reply whose every number is made of a word and its start, and of nothing else."""
    message = pb.ForwardRequest.FromString(data)
    words, network = list(message.words), request.network
    h_shape = network.h_shape(request.hidden_size, batch=len(words))
    c_shape = network.c_shape(request.hidden_size, batch=len(words))
    starts = np.array(message.initial_state.h).reshape(h_shape)[0, :, 0] if message.initial_state.h else 0.0
    numbers = (
        np.array([float(int(word.replace("b", "2").replace("a", "1"))) for word in words]) + starts * 1e5
    )
    lengths = list(map(len, words))
    positions = np.arange(max(lengths)) < np.array(lengths)[:, np.newaxis]
    outputs = numbers[:, np.newaxis] * (np.ones((1, 1)) if network.is_pooled else positions)
    outputs = np.repeat(outputs[..., np.newaxis], request.hidden, axis=-1).astype(np.float32)
    outputs = outputs[:, 0] if network.is_pooled else outputs
    rest = pb.ForwardReply(shape=outputs.shape, lengths=lengths, fingerprint="f00d")
    if network.return_final_state:
        h = np.broadcast_to(numbers[:, np.newaxis] + 0.5, h_shape)
        rest.final_state.MergeFrom(pb.State(h=h.ravel(), h_shape=h_shape, network_digest="d1gest"))
        if c_shape:
            c = np.broadcast_to(numbers[:, np.newaxis] + 0.25, c_shape)
            rest.final_state.MergeFrom(pb.State(c=c.ravel(), c_shape=c_shape))
    if message.reply_form == pb.REPLY_FORM_DISTINCT:
        rows, index = np.unique(outputs.reshape(-1, request.hidden), axis=0, return_inverse=True)
        return join_reply(rest, values=rows, index=index.astype(np.int32))
    return join_reply(rest, values=outputs)


def in_parts(request, *, order, limits=LIMITS):
    """What comes of a request whose parts are answered in some order, and what each part asked."""
    assembly, sent = InParts(request, limits=limits), []
    for at in order(range(assembly.part_count)):
        part = assembly.encode(at, request_id="")
        sent.append(pb.ForwardRequest.FromString(part.data))
        assembly.place(at, parse_reply(answer(part.data, request=request)), request=part)
    return assembly.result(), sent


@pytest.mark.parametrize("is_started", [False, True])
@pytest.mark.parametrize("options", KINDS)
@given(words=WORDS, random=st.randoms())
def test_everything_finds_its_place(options, is_started, words, random):
    """Whatever the words and the order of replies: outputs and last states are those of one request."""
    request = asked(words, options=options, is_started=is_started)
    result, sent = in_parts(request, order=lambda parts: random.sample(parts, len(parts)))
    encoded = encode(request)
    expected = decode_reply(answer(encoded.data, request=request), encoded)
    assert np.array_equal(result.outputs, expected.outputs)
    assert result.words == expected.words
    assert (result.state is None) == (expected.state is None)
    if result.state is not None:
        assert result.state.network_digest == "d1gest"
        assert np.array_equal(result.h_n, expected.h_n)
        assert (result.c_n is None) == (expected.c_n is None)
        assert result.c_n is None or np.array_equal(result.c_n, expected.c_n)
    assert sum(len(part.words) for part in sent) == len(words if is_started else set(words))


def test_words_with_starts_of_their_own_are_neither_sorted_nor_merged():
    """Equal words from different states are different questions; each part has its own words' states."""
    words = ["b", "a", "b", "a", "ab"] * 4
    _, sent = in_parts(asked(words, options={}, is_started=True), order=list)
    assert [word for part in sent for word in part.words] == words
    assert [part.initial_state.h_shape[1] for part in sent] == [len(part.words) for part in sent]
    assert [number for part in sent for number in part.initial_state.h[::3]] == list(range(20))
    assert {part.reply_form for part in sent} == {pb.REPLY_FORM_UNSPECIFIED}


def test_a_large_state_makes_a_call_large():
    """What travels beside few words counts: a message holds the states, too."""
    limits = Limits(**{name: getattr(LIMITS, name) for name in Limits.__slots__} | {"max_words": 65_536})
    options = {"num_layers": 8, "bidirectional": True, "cell": "lstm"}
    words = ["a"] * 1_000
    plain = asked(words, options=options, hidden_size=512)
    assert not is_bulk(plain, limits)
    assert is_bulk(asked(words, options=options | {"return_final_state": True}, hidden_size=512), limits)
    started = asked(words, options=options, hidden_size=512, is_started=True)
    assert is_bulk(started, limits)
    assembly = InParts(started, limits=limits)
    assert max(len(assembly.encode(at, request_id="").data) for at in range(3)) < 2 << 20


def test_sentences_are_cut_by_what_they_weigh_themselves():
    """Text that outweighs what is made of it does not make a request larger than a part."""
    limits = Limits(**{name: getattr(LIMITS, name) for name in Limits.__slots__} | {"max_words": 65_536})
    sentences = [f"{'long' * 2_000} {number}" for number in range(1_000)]
    arguments = {"hidden_size": 1, "seed": 0, "alphabet": None, "layout": "batch_first"}
    request = check_request(sentences, **arguments, options={"vectors": "glove", "output": "last"})
    assert is_bulk(request, limits)
    assembly = InParts(request, limits=limits)
    sizes = [len(assembly.encode(at, request_id="").data) for at in range(assembly.part_count)]
    assert max(sizes) < 2 << 20


def test_a_refusal_names_the_callers_word_where_words_have_starts():
    """The parts are in the caller's order, so an index is moved by what went before."""
    assembly = InParts(asked(["a"] * 20, options={}, is_started=True), limits=LIMITS)
    assert assembly.renamed(1, InvalidRequestError("words[2] is bad")).message == "words[9] is bad"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda rest: rest.final_state.ClearField("h_shape"),
        lambda rest: rest.final_state.h.pop(),
        lambda rest: rest.final_state.c.append(1.0),
        lambda rest: rest.ClearField("final_state"),
        lambda rest: rest.lengths.pop(),
        lambda rest: rest.shape.append(1),
    ],
    ids=["no shape", "too few", "a c of no LSTM", "none", "lengths", "shape"],
)
def test_a_reply_that_does_not_fit_is_no_result(spoil):
    """Last states and pooled outputs of another shape are a ProtocolError, in one request or in parts."""
    request = asked(["a", "b"], options={"output": "max", "return_final_state": True})
    encoded = encode(request)
    reply = parse_reply(answer(encoded.data, request=request))
    spoil(reply.rest)
    with pytest.raises(ProtocolError, match="expected"):
        decode_reply(join_reply(reply.rest, values=reply.values), encoded)


@pytest.mark.parametrize(
    "options",
    [
        {"output": "mean"},
        {"output": "last", "cell": "gru"},
        {"cell": "lstm", "num_layers": 2, "return_final_state": True},
        {"output": "max", "return_final_state": True},
    ],
)
def test_the_real_server_gives_the_same_bits_in_parts(make_client, server_address, in_small_parts, options):
    """Pooled outputs and last states of many words are those of few."""
    words = [f"{number:b}" for number in range(300)] + ["1"] * 20
    places = [0, 3, 150, 319]
    asked_for = {"hidden_size": 7, "alphabet": "01", **options}
    with make_client(server_address) as client:
        large = client.forward(words, **asked_for)
        small = client.forward([words[place] for place in places], **asked_for)
    seq = int(small.lengths.max())
    outputs = large.outputs[places] if large.network.is_pooled else large.outputs[places, :seq]
    assert outputs.tobytes() == small.outputs.tobytes()
    if large.network.return_final_state:
        assert large.h_n[:, places].tobytes() == small.h_n.tobytes()
        assert large.c_n is None or large.c_n[:, places].tobytes() == small.c_n.tobytes()


def test_any_number_of_words_may_be_pooled(server_address, make_client):
    """70,000 words and their last states are one call, beyond what a server takes at once."""
    words = [f"{number:x}" for number in range(70_000)]
    asked_for = {"hidden_size": 8, "alphabet": "0123456789abcdef", "output": "max"}
    with make_client(server_address) as client:
        result = client.forward(words, return_final_state=True, **asked_for)
        few = client.forward(words[-3:], return_final_state=True, **asked_for)
    assert result.outputs.shape == (70_000, 8)
    assert np.array_equal(result.outputs[-3:], few.outputs)
    assert np.array_equal(result.h_n[:, -3:], few.h_n)
