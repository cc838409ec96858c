"""The server refuses options and fields that it does not support, and ignores none."""

import pytest
from unrolled.v1 import forward_pb2 as pb
from unrolled_server.errors import InvalidRequestError, UnsupportedError
from unrolled_server.validation.parsing import parse, parse_info_request, refuse_unsupported

ONE_MIB = 1 << 20


def refuse(data):
    refuse_unsupported(pb.ForwardRequest.FromString(data), data)


def test_a_string_that_is_not_utf8_is_named_or_the_size_up_to_which_it_is():
    with pytest.raises(InvalidRequestError, match=r"^words\[1\] is not valid UTF-8; send text encoded"):
        parse(b"\x0a\x01a\x0a\x01\xff")
    with pytest.raises(InvalidRequestError, match="for a message of up to 65536 bytes this server"):
        parse(b"\x0a\x01\xff" * ONE_MIB)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"embedding": pb.Embedding(unknown_word=9)}, "unknown_word is 9"),
        (
            {"output": pb.OUTPUT_MAX, "reply_form": pb.REPLY_FORM_DISTINCT},
            'output="max" and reply_form is REPLY_FORM_DISTINCT',
        ),
        ({"output": 99}, "output is 99"),
        ({"layout": 99}, "layout is 99"),
        ({"unknown_symbol": 3}, "unknown_symbol is 3"),
        ({"reply_form": 99}, "reply_form is 99"),
        ({"network": pb.Network(cell=77)}, "cell is 77"),
        ({"network": pb.Network(nonlinearity=7)}, "nonlinearity is 7"),
    ],
)
def test_an_unsupported_option_is_refused_by_name(options, names):
    with pytest.raises(UnsupportedError, match=names.replace(".", r"\.")):
        refuse(pb.ForwardRequest(words=["a"], hidden_size=1, **options).SerializeToString())


def test_the_number_of_fields_is_known():
    """Fails if a field is added: the server must either read or refuse it."""
    assert len(pb.ForwardRequest.DESCRIPTOR.fields) == 15
    assert len(pb.Network.DESCRIPTOR.fields) == 10
    assert len(pb.Embedding.DESCRIPTOR.fields) == 4
    assert len(pb.State.DESCRIPTOR.fields) == 5


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"layout": pb.LAYOUT_SEQ_FIRST, "output": pb.OUTPUT_ALL, "reply_form": pb.REPLY_FORM_DENSE},
        {"reply_form": pb.REPLY_FORM_DISTINCT},
        {"network": pb.Network()},
        {"network": pb.Network(cell=pb.CELL_RNN, nonlinearity=pb.NONLINEARITY_TANH, num_layers=1, bias=True)},
        {"network": pb.Network(cell=pb.CELL_LSTM, num_layers=3, bias=False, proj_size=1)},
        {"embedding": pb.Embedding(random_size=3), "output": pb.OUTPUT_MEAN, "return_final_state": True},
        {"embedding": pb.Embedding(vectors="glove", unknown_word=pb.UNKNOWN_WORD_MEAN)},
        {"network": pb.Network(bidirectional=True, spectral_radius=0.9)},
        {"initial_state": pb.State(h=[0.0], h_shape=[1, 1, 1])},
        {"same_words": True},
    ],
)
def test_defaults_may_be_explicit(options):
    refuse(pb.ForwardRequest(words=["a"], hidden_size=1, **options).SerializeToString())


@pytest.mark.parametrize(
    ("data", "path"),
    [
        (b"\xf8\x06\x01", "the request has field 111"),
        (b"\x2a\x03\xf8\x06\x01", "field network.111"),
        (b"\x32\x03\xf8\x06\x01", "field embedding.111"),
        (b"\x3a\x03\xf8\x06\x01", "field initial_state.111"),
    ],
)
def test_an_unknown_field_is_refused_at_every_level(data, path):
    with pytest.raises(UnsupportedError, match=path):
        refuse(data)


def test_at_most_eight_unknown_fields_are_named():
    fields = b"".join(bytes([number << 3 & 0x7F | 0x80, number >> 4, 0]) for number in range(20, 60))
    with pytest.raises(UnsupportedError, match="field 20, 21, 22, 23, 24, 25, 26, 27 and 32 more, unknown"):
        refuse(fields * 2)


def test_a_malformed_info_request_is_refused():
    with pytest.raises(InvalidRequestError, match="3 bytes received are not a GetServerInfoRequest"):
        parse_info_request(b"\xff\xff\xff")


def test_an_info_request_with_unknown_fields_is_refused_whatever_its_size():
    for data in (b"\x78\x00", b"\x78\x00" * ONE_MIB):
        with pytest.raises(UnsupportedError, match="unknown to this server"):
            parse_info_request(data)
