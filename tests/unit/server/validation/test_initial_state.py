"""An initial state must fit the network and the words of its request."""

import numpy as np
import pytest
from unrolled.v1 import forward_pb2 as pb
from unrolled_server.errors import InvalidRequestError
from unrolled_server.settings import Settings
from unrolled_server.validation.request import RequestValidator

LIMITS = Settings().limits()
LSTM = pb.Network(cell=pb.CELL_LSTM, num_layers=2, proj_size=1, bidirectional=True)


def accepted(**changes):
    request = {"words": ["ab", "a", "b"], "hidden_size": 2, "seed": 7} | changes
    return RequestValidator(LIMITS).validate(pb.ForwardRequest(**request).SerializeToString()).job


def a_state(h_shape=(1, 3, 2), c_shape=(), **changes):
    values = {
        name: np.arange(np.prod(shape), dtype=np.float32) / 8 if shape else ()
        for name, shape in (("h", h_shape), ("c", c_shape))
    }
    return pb.State(**{"h_shape": h_shape, "c_shape": c_shape, **values, **changes})


def test_a_state_is_parsed_in_torchs_shape():
    state = accepted(initial_state=a_state()).initial_state
    assert state.h.tolist() == [[[0, 0.125], [0.25, 0.375], [0.5, 0.625]]]
    assert state.c is None
    state = accepted(network=LSTM, initial_state=a_state((4, 3, 1), (4, 3, 2))).initial_state
    assert state.h.shape == (4, 3, 1)
    assert state.c[1, 2].tolist() == [10 / 8, 11 / 8]


def test_with_seq_first_there_is_a_state_for_each_position():
    words = ["abb", "bba"]
    job = accepted(words=words, layout=pb.LAYOUT_SEQ_FIRST, initial_state=a_state())
    assert job.initial_state.h.shape == (1, 3, 2)


def test_the_digest_of_the_requests_network_is_accepted():
    digest = accepted().network.digest
    assert accepted(initial_state=a_state(network_digest=digest)).initial_state is not None


@pytest.mark.parametrize(
    ("state", "network", "field", "says"),
    [
        (a_state((1, 2, 2)), {}, "h_shape", r"h has shape \(1, 2, 2\); it must be \(1, 3, 2\)"),
        (a_state((6,)), {}, "h_shape", r"h has shape \(6,\)"),
        (a_state(h=[1.0]), {}, "h", "has 1 values; its shape .* has 6"),
        (a_state(h=[0, 1, float("nan"), 3, 4, 5]), {}, "h", r"h\[2\] is nan; all values must be finite"),
        (a_state(h=[0, 1, 2, 3, 4, float("-inf")]), {}, "h", r"h\[5\] is -inf.*overflowed float32"),
        (a_state(c_shape=(1, 3, 2)), {}, "c", 'is for cell="lstm"; cell="rnn" has none; leave it out'),
        (a_state((4, 3, 1)), {"network": LSTM}, "c_shape", r"c has shape \(\); it must be \(4, 3, 2\)"),
        (a_state((4, 3, 1), (4, 3, 1)), {"network": LSTM}, "c_shape", "it must be"),
        (a_state(network_digest="f" * 16), {}, "network_digest", "'ffffffffffffffff'; the request's network"),
    ],
)
def test_an_invalid_state_is_refused_with_its_field(state, network, field, says):
    with pytest.raises(InvalidRequestError, match=says) as failure:
        accepted(initial_state=state, **network)
    (violation,) = failure.value.violations
    assert violation.field == f"initial_state.{field}"


def test_the_digest_of_another_network_is_refused():
    digest = accepted(seed=8).network.digest
    with pytest.raises(InvalidRequestError, match="ask for the network that the state came from"):
        accepted(initial_state=a_state(network_digest=digest))
