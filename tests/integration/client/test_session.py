"""Sessions: what is sent for each piece, what is refused, what a failure leaves."""

import asyncio
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from unrolled.v1 import forward_pb2 as pb
from unrolled_client import (
    AsyncClient,
    Client,
    InvalidRequestError,
    OverloadedError,
    ProtocolError,
    Session,
    State,
)

ASKED = {"hidden_size": 2, "alphabet": "abc"}


def counting_reply(data, *, fingerprint="f00d"):
    """The answer of a network whose state counts the symbols that it has read."""
    request = pb.ForwardRequest.FromString(data)
    lengths = list(map(len, request.words))
    shape = (1, len(lengths), request.hidden_size)
    start = np.array(request.initial_state.h).reshape(shape) if request.HasField("initial_state") else 0.0
    h = start + np.array(lengths)[:, np.newaxis] * np.ones(shape)
    outputs_shape = (len(lengths), max(lengths), request.hidden_size)
    return pb.ForwardReply(
        shape=outputs_shape,
        lengths=lengths,
        values=np.zeros(outputs_shape).ravel(),
        final_state=pb.State(h=h.ravel(), h_shape=shape, network_digest="d1gest"),
        fingerprint=fingerprint,
    ).SerializeToString()


@pytest.fixture
def counting(serve):
    """The address of a server that counts, and the requests that it got."""
    requests = []

    def answer(data, _context):
        requests.append(pb.ForwardRequest.FromString(data))
        return counting_reply(data)

    return serve(answer), requests


def test_each_piece_starts_where_the_one_before_ended(make_client, counting):
    """The state and its network's digest go with each call, and nothing else is kept anywhere."""
    address, requests = counting
    with make_client(address) as client:
        session = client.session(seed=3, **ASKED)
        assert session.state is None
        results = [session.feed(piece) for piece in (["ab", "c"], ["a", "abc"], ("b", "bb"))]
    first, *later = requests
    assert not first.HasField("initial_state")
    assert [request.initial_state.network_digest for request in later] == ["d1gest"] * 2
    assert list(later[1].initial_state.h) == [3.0, 3.0, 4.0, 4.0]
    assert all(request.return_final_state for request in requests)
    assert {(request.seed, request.alphabet) for request in requests} == {(3, "abc")}
    assert session.state.h.tolist() == [[[4.0, 4.0], [6.0, 6.0]]]
    assert results[-1].h_n.tolist() == session.state.h.tolist()


def test_a_state_from_elsewhere_says_how_many_texts_there_are(make_client, counting):
    """A pickled state goes on in another session; pieces for another number of texts are refused."""
    address, requests = counting
    with make_client(address) as client:
        session = client.session(**ASKED)
        session.feed(["ab", "c"])
        resumed = client.session(state=pickle.loads(pickle.dumps(session.state)), **ASKED)
        for other in (["a"], ["a", "b", "c"], []):
            with pytest.raises(InvalidRequestError, match=f"words has {len(other)} entries.* 2 texts"):
                resumed.feed(other)
        assert len(requests) == 1
        resumed.feed(["a", "a"])
    assert resumed.state.h.tolist() == [[[3.0, 3.0], [2.0, 2.0]]]


def test_what_is_done_to_a_result_leaves_the_session_alone(make_client, counting):
    """The session keeps a state of its own, which cannot be written to."""
    with make_client(counting[0]) as client:
        session = client.session(**ASKED)
        session.feed(["ab"]).h_n[:] = 99
        assert session.state.h.tolist() == [[[2.0, 2.0]]]
        with pytest.raises(ValueError, match="read-only"):
            session.state.h[:] = 0


def test_a_piece_that_failed_may_be_fed_again(make_client, serve):
    """A failure leaves the texts where they were."""
    is_failing = iter([False, True, False])

    def answer(data, context):
        if next(is_failing):
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy")
        return counting_reply(data)

    options = [("grpc.enable_retries", 0)]
    with make_client(serve(answer), options=options) as client:
        session = client.session(**ASKED)
        session.feed(["ab"])
        with pytest.raises(OverloadedError):
            session.feed(["abc"])
        assert session.state.h.tolist() == [[[2.0, 2.0]]]
        session.feed(["abc"])
    assert session.state.h.tolist() == [[[5.0, 5.0]]]


def test_servers_of_other_bits_are_noticed(make_client, serve):
    """A piece from another fingerprint is an error and changes nothing; a new session may go on."""
    fingerprints = iter(["f00d", "beef", "beef"])

    def answer(data, _context):
        return counting_reply(data, fingerprint=next(fingerprints))

    with make_client(serve(answer)) as client:
        session = client.session(**ASKED)
        session.feed(["ab"])
        with pytest.raises(ProtocolError, match=r"f00d.*beef.*new session"):
            session.feed(["c"])
        assert session.state.h.tolist() == [[[2.0, 2.0]]]
        assert client.session(state=session.state, **ASKED).feed(["c"]).h_n.tolist() == [[[3.0, 3.0]]]


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"bidirectional": True}, InvalidRequestError, "bidirectional is True.*whole texts"),
        ({"layout": "seq_first"}, InvalidRequestError, "layout is 'seq_first'"),
        ({"output": "mean"}, InvalidRequestError, "output is 'mean'.*'all' or 'last'"),
        ({"output": "max"}, InvalidRequestError, "output is 'max'"),
        ({"alphabet": None}, InvalidRequestError, "session needs an alphabet; derive_alphabet"),
        ({"alphabet": ""}, InvalidRequestError, "session needs an alphabet"),
        ({"vectors": "glove"}, InvalidRequestError, "leave the alphabet out"),
        ({"cells": "lstm"}, TypeError, r"session\(\) has no argument 'cells'; did you mean 'cell'"),
        ({"hidden_size": 2.0}, TypeError, r"hidden_size is 2\.0 \(float\)"),
        (
            {"state": np.zeros((2, 5, 2))},
            InvalidRequestError,
            r"state\.h has shape \(2, 5, 2\); it must be \(1, 5, 2\), which is \(num_layers \* direct.*texts",
        ),
        ({"state": np.zeros(3)}, InvalidRequestError, r"state\.h has shape \(3,\)"),
        ({"state": np.zeros((1, 5, 2)), "cell": "lstm"}, InvalidRequestError, "an LSTM starts from"),
    ],
)
def test_what_has_no_pieces_is_refused_before_anything_is_sent(make_client, changes, error, says):
    """What needs the whole text, and a state that does not fit, is found when the session is made."""
    with make_client("127.0.0.1:1") as client, pytest.raises(error, match=says):
        client.session(**(ASKED | changes))


def test_pieces_take_turns(serve):
    """A second piece while one is on its way would start from the same state, so it is refused."""
    entered, release = threading.Event(), threading.Event()

    def answer(data, _context):
        entered.set()
        release.wait()
        return counting_reply(data)

    with Client(serve(answer)) as client, ThreadPoolExecutor(1) as pool:
        session = client.session(**ASKED)
        piece = pool.submit(session.feed, ["ab"])
        assert entered.wait(timeout=120)
        with pytest.raises(InvalidRequestError, match="on its way"):
            session.feed(["c"])
        release.set()
        piece.result()
        session.feed(["c"])
    assert session.state.h.tolist() == [[[3.0, 3.0]]]


def test_a_cancelled_piece_leaves_the_texts_where_they_were(serve):
    """A coroutine that gives up may feed the piece again."""
    entered, release = threading.Event(), threading.Event()
    is_slow = iter([True, False])

    def answer(data, _context):
        if next(is_slow):
            entered.set()
            release.wait()
        return counting_reply(data)

    async def run(target):
        async with AsyncClient(target) as client:
            session = client.session(**ASKED)
            piece = asyncio.create_task(session.feed(["ab"]))
            assert await asyncio.to_thread(entered.wait, 120)
            piece.cancel()
            with pytest.raises(asyncio.CancelledError):
                await piece
            assert session.state is None
            release.set()
            await session.feed(["abc"])
            return session.state

    assert asyncio.run(run(serve(answer))).h.tolist() == [[[3.0, 3.0]]]


def test_a_piece_has_the_sessions_timeout(serve):
    """timeout_s is each piece's; the error is the call's."""
    release = threading.Event()
    with Client(serve(lambda _data, _context: release.wait() and b"")) as client:
        session = client.session(timeout_s=0.1, **ASKED)
        with pytest.raises(TimeoutError):
            session.feed(["ab"])
        release.set()
    assert isinstance(session, Session)


@pytest.mark.parametrize(("timeout_s", "kind"), [("5", TypeError), (0, InvalidRequestError)])
def test_a_sessions_timeout_is_judged_when_it_is_made(make_client, timeout_s, kind):
    """Not with the first piece."""
    with make_client("127.0.0.1:1") as client, pytest.raises(kind, match="timeout_s is"):
        client.session(timeout_s=timeout_s, **ASKED)


def test_words_that_are_one_str_are_named(make_client):
    """The classic slip is found before anything is sent."""
    with make_client("127.0.0.1:1") as client, pytest.raises(TypeError, match="pass a list of words"):
        client.session(**ASKED).feed("abc")


def test_a_state_is_a_value():
    """It unpacks into torch's words and pickles."""
    state = State(h=np.zeros((1, 2, 3), np.float32), c=None)
    h, c, digest = pickle.loads(pickle.dumps(state))
    assert (h.shape, c, digest) == ((1, 2, 3), None, "")


@pytest.mark.parametrize("cell", [{}, {"embedding_size": 3}])
def test_states_that_overflow_are_reported_at_their_piece(make_client, server_address, cell):
    """As an overflow, with the remedy; the session is where it was, and shorter pieces go on from there."""
    growing = {"hidden_size": 8, "nonlinearity": "relu", "spectral_radius": 5.0, "alphabet": "ab", **cell}
    with make_client(server_address) as client:
        session = client.session(**growing)
        session.feed(["ab", "b"])
        before = session.state
        says = r"states overflowed float32 in this piece: state\.h\[0, 1, \d\] is (inf|nan).*spectral_rad"
        with pytest.raises(InvalidRequestError, match=says):
            session.feed(["a", "ab" * 100])
        assert session.state is before
        assert np.isfinite(session.feed(["a", "ab"]).outputs).all()


def test_a_given_state_that_overflowed_is_named(make_client, server_address):
    """The state that forward gave is torch's, infinite or NaN; no session starts from it."""
    growing = {"hidden_size": 8, "nonlinearity": "relu", "spectral_radius": 5.0, "alphabet": "ab"}
    with make_client(server_address) as client:
        result = client.forward(["ab" * 100], return_final_state=True, **growing)
        assert not np.isfinite(result.state.h).all()
        with pytest.raises(
            InvalidRequestError, match=r"^state\.h\[.*the network that it comes from overflowed"
        ):
            client.session(state=result.state, **growing)
        with pytest.raises(InvalidRequestError, match=r"^initial_state\.h\[.*overflowed float32"):
            client.forward(["ab"], initial_state=result.state, **growing)
