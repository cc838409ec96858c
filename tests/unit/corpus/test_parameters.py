"""Which seeds and parameters a job accepts."""

import pytest

pytest.importorskip("pyarrow")

import torch
from unrolled_corpus.errors import CorpusError
from unrolled_corpus.parameters import parse_seeds, seed_column
from unrolled_server.validation.network import MAX_LAYERS, MAX_OF_RESERVOIR_OPTIONS, MAX_SPECTRAL_RADIUS

from tests.support.corpus.corpora import parameters

pytestmark = pytest.mark.corpus
SENTENCES = {"word_embedding_size": 5, "alphabet": None}


def test_seeds_are_numbers_and_ranges_in_the_order_given():
    assert parse_seeds("17,0-3, -2") == (17, 0, 1, 2, 3, -2)
    assert parse_seeds("-3--1") == (-3, -2, -1)


def test_seeds_are_those_that_torch_accepts():
    lowest, highest = -(2**63), 2**64 - 1
    assert parse_seeds(f"{lowest},{highest}") == (lowest, highest)
    for seed in (lowest, highest):
        torch.Generator().manual_seed(seed)
    for seed in (lowest - 1, highest + 1):
        with pytest.raises(ValueError, match="Overflow"):
            torch.Generator().manual_seed(seed)
        with pytest.raises(
            CorpusError, match=r"seeds are from -2\*\*63 to 2\*\*64 - 1, as for torch.manual_seed"
        ):
            parse_seeds(str(seed))
    assert seed_column(highest) == "seed_18446744073709551615"


@pytest.mark.parametrize(
    "seeds",
    [
        "",
        "a",
        "3-1",
        "0-2,1",
        "0-1000",
        "18446744073709551616",
        "-9223372036854775809",
        "9" * 5_000,
        "1,,2",
        "[0, 1]",
        "range(3)",
        "1.0",
        "1e3",
        "True",
        "0..9",
    ],
)
def test_texts_that_are_not_seeds_are_refused(seeds):
    with pytest.raises(CorpusError, match="--seeds"):
        parse_seeds(seeds)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"hidden_size": 0}, "--hidden-size is 0; it must be from 1"),
        ({"num_layers": 17}, "--num-layers is 17"),
        ({"proj_size": 8, "cell": "lstm"}, "--proj-size is 8; it must be from 0 to 7"),
        ({"proj_size": 2}, "--proj-size is for the lstm cell"),
        ({"cell": "gru", "nonlinearity": "relu"}, "--nonlinearity is for the rnn cell"),
        ({"spectral_radius": 0.0}, "--spectral-radius is 0"),
        ({"spectral_radius": 1.0, "cell": "lstm", "proj_size": 2}, "leave one of them out"),
        ({"alphabet": "aba"}, "--alphabet has 'a' more than once"),
        ({"alphabet": ""}, "--alphabet is empty"),
        ({"unknown_word": "zero"}, "--unknown-word is for --vectors"),
        ({"vectors": "glove=f"}, "--alphabet is for letters"),
        ({"vectors": "glove", "alphabet": None}, "give NAME=FILE"),
        ({"part_rows": 0}, "--part-rows is 0"),
        ({"leak_rate": 0.0}, "--leak-rate is 0; it must be above 0 and up to 1"),
        ({"leak_rate": 1.5}, "--leak-rate is 1.5"),
        ({"density": float("nan")}, "--density is nan"),
        ({"input_scaling": 1001.0}, "--input-scaling is 1001; it must be above 0 and up to 1000"),
        ({"density": 0.5, "cell": "gru"}, "--density is for the rnn cell; --cell is gru"),
        ({"word_embedding_size": 0, "alphabet": None}, "--word-embedding-size is 0"),
        ({"word_embedding_size": 5}, "--alphabet is for letters, and with --word-embedding-size symbols are"),
        (SENTENCES | {"embedding_size": 3}, "--embedding-size is for letters"),
        (SENTENCES | {"unknown_symbol": "skip"}, "--unknown-symbol is for letters"),
        (SENTENCES | {"unknown_word": "mean"}, "--unknown-word is for --vectors"),
        (SENTENCES | {"vectors": "glove=f"}, "--vectors and --word-embedding-size both"),
        ({"tokenize": True}, "--tokenize is for sentences; give --vectors or --word-embedding-size"),
        ({"unknown_symbol": "zero", "alphabet": None}, "without --alphabet all letters of the corpus"),
    ],
)
def test_invalid_parameters_are_named(changed, message):
    with pytest.raises(CorpusError, match=message):
        parameters(**changed).check()


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_defaults_of_echo_state_options_are_those_of_every_cell(cell):
    parameters(cell=cell, leak_rate=1.0, input_scaling=1.0, density=1.0).check()


@pytest.mark.parametrize(
    ("name", "most"),
    [("num_layers", MAX_LAYERS), ("spectral_radius", MAX_SPECTRAL_RADIUS), *MAX_OF_RESERVOIR_OPTIONS.items()],
)
def test_a_job_has_the_limits_of_the_server(name, most):
    parameters(**{name: most}).check()
    with pytest.raises(CorpusError, match=f"--{name.replace('_', '-')} is"):
        parameters(**{name: most * 1.1}).check()
