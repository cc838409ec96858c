"""Networks are validated as torch validates them; every message has value, limit and remedy."""

import pytest
from unrolled.v1 import forward_pb2 as pb
from unrolled_server.engine import Cell, NetworkSpec, Nonlinearity, Output
from unrolled_server.errors import InvalidRequestError
from unrolled_server.settings import Settings
from unrolled_server.validation.network import MAX_OF_RESERVOIR_OPTIONS
from unrolled_server.validation.request import RequestValidator

LIMITS = Settings().limits()
LSTM = pb.Network(cell=pb.CELL_LSTM, num_layers=2, proj_size=1)


def accepted(**changes):
    request = {"words": ["ab", "a"], "hidden_size": 3, "seed": 7} | changes
    return RequestValidator(LIMITS).validate(pb.ForwardRequest(**request).SerializeToString()).job


def test_a_request_without_a_network_is_torchs_default():
    assert accepted().network == NetworkSpec(symbol_count=2, hidden_size=3, seed=7)
    assert accepted(network=pb.Network(), embedding=pb.Embedding()).network == accepted().network


def test_every_option_is_parsed():
    job = accepted(
        network=pb.Network(cell=pb.CELL_LSTM, num_layers=2, bias=False, proj_size=1, bidirectional=True),
        embedding=pb.Embedding(random_size=5),
        output=pb.OUTPUT_MAX,
        return_final_state=True,
    )
    assert job.network == NetworkSpec(
        symbol_count=2,
        hidden_size=3,
        seed=7,
        cell=Cell.LSTM,
        num_layers=2,
        bias=False,
        proj_size=1,
        bidirectional=True,
        embedding_size=5,
    )
    assert (job.output, job.return_final_state) == (Output.MAX, True)
    relu = accepted(network=pb.Network(nonlinearity=pb.NONLINEARITY_RELU)).network
    assert relu.nonlinearity is Nonlinearity.RELU
    assert accepted(network=pb.Network(spectral_radius=0.9)).network.spectral_radius == 0.9
    reservoir = {"leak_rate": 0.3, "input_scaling": 1000, "density": 1e-9}
    assert accepted(network=pb.Network(**reservoir)).network == NetworkSpec(
        symbol_count=2, hidden_size=3, seed=7, **reservoir
    )
    ones = dict.fromkeys(reservoir, 1)
    assert accepted(network=pb.Network(**ones)).network == accepted().network


@pytest.mark.parametrize(
    ("changes", "field", "says"),
    [
        ({"network": pb.Network(num_layers=0)}, "network.num_layers", "is 0; this server allows 1 to 16"),
        ({"network": pb.Network(num_layers=17)}, "network.num_layers", "is 17"),
        ({"network": pb.Network(cell=pb.CELL_LSTM, proj_size=3)}, "network.proj_size", "below hidden_size"),
        ({"network": pb.Network(cell=pb.CELL_LSTM, proj_size=-1)}, "network.proj_size", "proj_size is -1"),
        (
            {"network": pb.Network(cell=pb.CELL_GRU, proj_size=1)},
            "network.proj_size",
            'proj_size is 1, which is for cell="lstm"; cell="gru" has none',
        ),
        (
            {"network": pb.Network(cell=pb.CELL_GRU, nonlinearity=pb.NONLINEARITY_TANH)},
            "network.nonlinearity",
            'nonlinearity is for cell="rnn"; cell="gru" has its own; leave it out',
        ),
        ({"network": pb.Network(spectral_radius=0)}, "network.spectral_radius", "is 0; this server allows"),
        ({"network": pb.Network(spectral_radius=-1)}, "network.spectral_radius", "is -1"),
        ({"network": pb.Network(spectral_radius=float("nan"))}, "network.spectral_radius", "is nan"),
        ({"network": pb.Network(spectral_radius=float("inf"))}, "network.spectral_radius", "is inf"),
        (
            {"network": pb.Network(cell=pb.CELL_LSTM, proj_size=1, spectral_radius=1)},
            "network.spectral_radius",
            "leave one of them out",
        ),
        *(
            (
                {"network": pb.Network(**{name: value})},
                f"network.{name}",
                f"{name} is {value:g}; this server allows numbers above 0 and up to {most:g}; leave it out",
            )
            for name, most in MAX_OF_RESERVOIR_OPTIONS.items()
            for value in (0, -0.5, 1001, float("nan"), float("inf"))
        ),
        *(
            (
                {"network": pb.Network(cell=pb.CELL_GRU, **{name: 1})},
                f"network.{name}",
                f'{name} is 1, which is for cell="rnn"; cell="gru" has none; leave it out',
            )
            for name in MAX_OF_RESERVOIR_OPTIONS
        ),
        ({"network": pb.Network(leak_rate=1.5)}, "network.leak_rate", "leak_rate is 1.5; this server"),
        (
            {"embedding": pb.Embedding(random_size=0)},
            "embedding.random_size",
            "embedding_size is 0; this server",
        ),
        ({"embedding": pb.Embedding(random_size=5_000)}, "embedding.random_size", "is 5000"),
        (
            {"embedding": pb.Embedding(vectors="")},
            "embedding.vectors",
            "vectors is ''; name a table, or leave",
        ),
        (
            {"embedding": pb.Embedding(random_size=1, unknown_word=pb.UNKNOWN_WORD_ZERO)},
            "embedding.unknown_word",
            "leave it out",
        ),
        (
            {"words": ["ab"], "layout": pb.LAYOUT_SEQ_FIRST, "output": pb.OUTPUT_LAST},
            "output",
            'output="last" does not go with layout="seq_first"',
        ),
    ],
)
def test_an_error_has_value_limit_and_remedy(changes, field, says):
    with pytest.raises(InvalidRequestError) as failure:
        accepted(**changes)
    (violation,) = failure.value.violations
    assert violation.field == field
    assert says in violation.description


def test_the_digest_identifies_the_network_alone():
    digest = accepted().network.digest
    assert accepted(words=["b", "bc"]).network.digest == digest  # other letters, as many
    assert accepted(seed=7 + 2**32).network.digest == digest
    others = [
        {"seed": 8},
        {"hidden_size": 4},
        {"words": ["abc"]},
        {"network": LSTM},
        {"network": pb.Network(bidirectional=True)},
        {"network": pb.Network(spectral_radius=0.5)},
        *({"network": pb.Network(**{name: 0.5})} for name in MAX_OF_RESERVOIR_OPTIONS),
    ]
    assert len({digest, *(accepted(**other).network.digest for other in others)}) == 1 + len(others)


def test_a_pooled_reply_is_allowed_where_the_reply_with_all_states_is_too_large():
    words = ["a" * 1_000] * 9_000
    with pytest.raises(InvalidRequestError, match="9000 x 1000 x 64 float32 values, "):
        accepted(words=words, hidden_size=64)
    assert accepted(words=words, hidden_size=64, output=pb.OUTPUT_MEAN).reply_bytes == 4 * 9_000 * 64
    with pytest.raises(InvalidRequestError, match="and the final state"):
        accepted(words=words, hidden_size=800, output=pb.OUTPUT_MEAN, return_final_state=True)


@pytest.mark.parametrize(
    "options",
    [
        {"network": pb.Network(cell=pb.CELL_LSTM, num_layers=16)},
        {"alphabet": "".join(map(chr, range(97, 9_097))), "embedding": pb.Embedding(random_size=4_096)},
    ],
)
def test_weights_above_the_limit_are_refused_before_they_are_drawn(options):
    with pytest.raises(InvalidRequestError, match=r"weights would take .* MiB; this server allows 512"):
        accepted(hidden_size=4_096, **({"network": pb.Network(cell=pb.CELL_LSTM)} | options))
