"""States that callers give: what they may look like, and what is said of others."""

import numpy as np
import pytest
import torch
from unrolled.v1 import forward_pb2 as pb
from unrolled_client import Client, InvalidRequestError, State
from unrolled_client._messages.request import encode
from unrolled_client._messages.validation import check_request

NAN = float("nan")


def asked(given, *, words=("ab", "c", "abc"), hidden_size=2, layout="batch_first", **options):
    """A request of three words that starts from what is given."""
    return check_request(
        words,
        hidden_size=hidden_size,
        seed=0,
        alphabet="abc",
        layout=layout,
        options=options,
        initial_state=given,
    )


def sent(request):
    """The state on the wire: (h_shape, h, c_shape, c, digest)."""
    state = pb.ForwardRequest.FromString(encode(request).data).initial_state
    return list(state.h_shape), list(state.h), list(state.c_shape), list(state.c), state.network_digest


def zeros(*shape):
    return np.zeros(shape, np.float32)


H = np.arange(6).reshape(1, 3, 2)


@pytest.mark.parametrize(
    "given",
    [
        H.astype(np.float32),
        H,
        H.astype(np.float64),
        H.astype(np.float16),
        H.astype(">f4"),
        np.asfortranarray(H.astype(np.float32)),
        H.tolist(),
        torch.from_numpy(H),
        torch.from_numpy(H).float(),
        (H, None),
        State(h=H.astype(np.float32), c=None),
    ],
    ids=lambda given: type(given).__name__,
)
def test_anything_that_is_an_array_of_numbers_will_do(given):
    """Tensors, numpy's arrays of any order and width, lists, a result's state: the same bytes travel."""
    assert sent(asked(given)) == ([1, 3, 2], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0], [], [], "")


def test_an_lstm_starts_from_a_pair():
    """(h, c) as torch takes it, each of its own width; a State brings its network's digest."""
    options = {"cell": "lstm", "proj_size": 1, "num_layers": 2}
    h, c = np.full((2, 3, 1), 0.5), np.full((2, 3, 2), 0.25)
    assert sent(asked((h, c), **options)) == ([2, 3, 1], [0.5] * 6, [2, 3, 2], [0.25] * 12, "")
    assert sent(asked(State(h=h, c=c, network_digest="f00d"), **options))[-1] == "f00d"


def test_nothing_is_sent_of_no_state():
    """Zeros are the default, and cost no bytes."""
    assert not pb.ForwardRequest.FromString(encode(asked(None)).data).HasField("initial_state")


@pytest.mark.parametrize(
    ("given", "options", "field", "says"),
    [
        (
            zeros(1, 2, 2),
            {},
            "h",
            r"h has shape \(1, 2, 2\); it must be \(1, 3, 2\), which is .*words, hidden_size",
        ),
        (zeros(3, 2), {}, "h", r"h has shape \(3, 2\); it must be \(1, 3, 2\)"),
        (
            zeros(1, 3, 2),
            {"num_layers": 2},
            "h",
            r"it must be \(2, 3, 2\), which is \(num_layers \* directions",
        ),
        (zeros(2, 3, 2), {"num_layers": 2, "bidirectional": True}, "h", r"it must be \(4, 3, 2\)"),
        (
            (zeros(1, 3, 2), zeros(1, 3, 2)),
            {"cell": "lstm", "proj_size": 1},
            "h",
            r"\(1, 3, 1\).*proj_size\)",
        ),
        (
            (zeros(1, 3, 2), zeros(1, 3, 1)),
            {"cell": "lstm"},
            "c",
            r"c has shape \(1, 3, 1\); it must be \(1, 3, 2\)",
        ),
        (zeros(1, 3, 2), {"cell": "lstm"}, "c", r"has no c; an LSTM starts from \(h, c\)"),
        (
            (zeros(1, 3, 2), zeros(1, 3, 2)),
            {"cell": "gru"},
            "c",
            "has a c; only an LSTM has a c; cell is 'gru'",
        ),
        (
            zeros(1, 3, 2),
            {"layout": "seq_first", "words": ["abcd"]},
            "h",
            r"\(1, 4, 2\), which is .*word length",
        ),
        (np.full((1, 3, 2), NAN), {}, "h", r"h\[0, 0, 0\] is nan; .*overflowed float32"),
        (np.full((1, 3, 2), -np.inf), {}, "h", r"h\[0, 0, 0\] is -inf; .*overflowed float32"),
        (np.full((1, 3, 2), 1e39), {}, "h", r"h\[0, 0, 0\] is 1e\+39; .*float32 holds up to 3\.4e38"),
        (np.zeros((1, 3, 2), complex), {}, "h", "array of complex128; pass real numbers"),
        (np.zeros((1, 3, 2), bool), {}, "h", "array of bool"),
        ("state", {}, "h", "array of <U5"),
        ([[1.0], [1.0, 2.0]], {}, "h", "is no array: .*inhomogeneous"),
    ],
)
def test_what_cannot_be_a_start_is_named(given, options, field, says):
    """A wrong shape, type or value says which is expected, before anything is sent."""
    with pytest.raises(InvalidRequestError, match=says) as caught:
        asked(given, **options)
    assert caught.value.violations[0].field == f"initial_state.{field}"


def test_it_is_an_argument_of_forward(make_client, serve):
    """Both clients send it, never merged with others, and the id still ends the message."""
    requests = []

    def answer(data, _context):
        requests.append(pb.ForwardRequest.FromString(data))
        return pb.ForwardReply(shape=(1, 1, 2), lengths=[1], values=[0.0, 1.0]).SerializeToString()

    with make_client(serve(answer)) as client:
        client.forward(["a"], hidden_size=2, initial_state=np.ones((1, 1, 2)))
        with pytest.raises(InvalidRequestError, match=r"initial_state\.h"):
            client.forward(["a"], hidden_size=2, initial_state=np.ones((1, 2, 2)))
    (request,) = requests
    assert list(request.initial_state.h) == [1.0, 1.0]


def test_an_id_stays_the_last_field():
    """The state stands before it, so a server splits ids off without a parser."""
    data = encode(asked(H), request_id="seven").data
    assert data.endswith(b"\x5a\x05seven")
    assert Client.forward.__kwdefaults__["initial_state"] is None
