"""A server refuses what it does not do, and never answers another question than the one asked."""

import pytest
from unrolled.v1 import forward_pb2 as pb
from unrolled_server.capabilities import refuse_unsupported
from unrolled_server.errors import UnsupportedError


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"embedding": pb.Embedding()}, "embedding"),
        ({"embedding": pb.Embedding(random_size=4)}, "embedding"),
        ({"initial_state": pb.State(h=[0.0], h_shape=[1, 1, 1])}, "initial_state"),
        ({"output": pb.OUTPUT_LAST}, "output is OUTPUT_LAST"),
        ({"output": 99}, "output is 99"),
        ({"layout": 99}, "layout is 99"),
        ({"reply_form": 99}, "reply_form is 99"),
        ({"return_final_state": True}, "return_final_state"),
        ({"network": pb.Network(cell=pb.CELL_LSTM)}, "network.cell is CELL_LSTM"),
        ({"network": pb.Network(cell=77)}, "network.cell is 77"),
        ({"network": pb.Network(nonlinearity=pb.NONLINEARITY_RELU)}, "network.nonlinearity"),
        ({"network": pb.Network(num_layers=2)}, "network.num_layers is 2"),
        ({"network": pb.Network(num_layers=0)}, "network.num_layers is 0"),
        ({"network": pb.Network(bidirectional=True)}, "network.bidirectional"),
        ({"network": pb.Network(bias=False)}, "network.bias"),
        ({"network": pb.Network(proj_size=1)}, "network.proj_size"),
        ({"network": pb.Network(spectral_radius=0.9)}, "network.spectral_radius"),
    ],
)
def test_an_option_that_is_not_done_is_refused_by_name(options, names):
    with pytest.raises(UnsupportedError, match=names.replace(".", r"\.")):
        refuse_unsupported(pb.ForwardRequest(words=["a"], hidden_size=1, **options))


def test_every_field_of_the_contract_is_either_done_or_refused():
    done = {"words", "hidden_size", "seed", "alphabet", "id", "layout", "network", "reply_form"}
    refused = {"embedding", "initial_state", "output", "return_final_state"}
    assert {field.name for field in pb.ForwardRequest.DESCRIPTOR.fields} == done | refused


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"layout": pb.LAYOUT_SEQ_FIRST, "output": pb.OUTPUT_ALL, "reply_form": pb.REPLY_FORM_DENSE},
        {"reply_form": pb.REPLY_FORM_DISTINCT},
        {"network": pb.Network()},
        {"network": pb.Network(cell=pb.CELL_RNN, nonlinearity=pb.NONLINEARITY_TANH, num_layers=1, bias=True)},
    ],
)
def test_defaults_may_be_spelled_out(options):
    refuse_unsupported(pb.ForwardRequest(words=["a"], hidden_size=1, **options))


@pytest.mark.parametrize(
    ("data", "path"), [(b"\xf8\x06\x01", "the request has field 111"), (b"\x2a\x03\xf8\x06\x01", "network")]
)
def test_a_field_that_is_not_known_is_refused_wherever_it_is(data, path):
    with pytest.raises(UnsupportedError, match=path):
        refuse_unsupported(pb.ForwardRequest.FromString(data))
