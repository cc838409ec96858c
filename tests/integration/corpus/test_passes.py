"""The three passes from texts to vectors, in this process; test_cli.py tests them on Ray."""

import pytest

pytest.importorskip("pyarrow")

import numpy as np
import pyarrow as pa
from unrolled_corpus.errors import CorpusError
from unrolled_server.engine import Cell, NetworkSpec, plain_network

from tests.support.corpus.corpora import (
    ALPHABET,
    computed_directly,
    random_texts,
    vectors_of,
    write_corpus,
)

pytestmark = pytest.mark.corpus
TEXTS = random_texts(60)


def test_each_row_has_the_bits_of_the_engine_for_its_text(run_passes):
    passes = run_passes(TEXTS, seeds=(0, 3))
    assert passes.partition.range_count > 2
    for seed in (0, 3):
        values = computed_directly(TEXTS, plain_network(len(ALPHABET), 8, seed)).values
        assert vectors_of(passes.table, seed).tobytes() == values.tobytes()


@pytest.mark.parametrize("output", ["mean", "max"])
def test_pooled_vectors_of_a_deep_bidirectional_network_are_those_of_the_engine(run_passes, output):
    options = {"cell": "lstm", "num_layers": 2, "bidirectional": True, "proj_size": 3, "embedding_size": 5}
    passes = run_passes(TEXTS, output=output, **options)
    spec = NetworkSpec(symbol_count=len(ALPHABET), hidden_size=8, seed=0, **options | {"cell": Cell.LSTM})
    values = computed_directly(TEXTS, spec, output=output).values
    assert passes.table.schema.field("seed_0").type.list_size == 6
    assert vectors_of(passes.table, 0).tobytes() == values.tobytes()


def test_all_states_are_lists_of_vectors_without_padding(run_passes):
    passes = run_passes(TEXTS, output="all")
    kind = passes.table.schema.field("seed_0").type
    assert pa.types.is_list(kind)
    assert pa.types.is_fixed_size_list(kind.value_type)
    answer = computed_directly(TEXTS, plain_network(len(ALPHABET), 8, 0), output="all")
    states = [states[: len(text)] for states, text in zip(answer.values, TEXTS, strict=True)]
    assert vectors_of(passes.table, 0).tobytes() == np.concatenate(states).tobytes()
    assert list(map(len, passes.table["seed_0"].to_pylist())) == list(map(len, TEXTS))


def test_the_engine_computes_each_distinct_text_once(run_passes):
    passes = run_passes(TEXTS, seeds=(0, 1))
    distinct = set(TEXTS)
    assert len(distinct) < len(TEXTS)
    assert sum(record["texts"] for record in passes.ranges) == len(distinct)
    assert sum(record["asked_rows"] for record in passes.ranges) == 2 * sum(map(len, distinct))


def test_rows_keep_their_order_and_their_copied_columns(run_passes, tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    write_corpus(folder / "b.parquet", TEXTS[25:], id=range(25, 60))
    write_corpus(folder / "a.parquet", TEXTS[:25], id=range(25))
    table = run_passes(folder, keep=("id", "text")).table
    assert table["id"].to_pylist() == list(range(60))
    assert table["text"].to_pylist() == TEXTS
    assert table.column_names == ["id", "text", "seed_0"]


def test_the_default_alphabet_is_the_letters_of_the_rows_by_first_appearance(run_passes):
    passes = run_passes(TEXTS, alphabet=None)
    alphabet = "".join(dict.fromkeys("".join(TEXTS)))
    assert passes.partition.alphabet == alphabet
    values = computed_directly(TEXTS, plain_network(len(alphabet), 8, 0), alphabet=alphabet).values
    assert vectors_of(passes.table, 0).tobytes() == values.tobytes()


def test_sentences_use_the_word_vectors_of_a_file(run_passes, tmp_path):
    file = tmp_path / "two.txt"
    file.write_text("the 1 2 3\ncat 4 5 6\n")
    passes = run_passes(
        ["the cat", "cat", "a  cat"], vectors=f"two={file}", alphabet=None, unknown_word="mean"
    )
    assert passes.table.num_rows == 3
    with pytest.raises(CorpusError, match=r"row 1 \(counted from 0\) has 'a' at position 0.*'two'"):
        run_passes(["the cat", "a cat"], vectors=f"two={file}", alphabet=None)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (
            pa.array([b"ab", b"a\xff", b"a\xff"], pa.binary()),
            r"row 1 \(counted from 0\) is not valid UTF-8; write the column as UTF-8",
        ),
        ([*TEXTS, "axb"], r"row 60 \(counted from 0\) has 'x' at position 1, which is not in --alphabet"),
        ([*TEXTS, "a" * 65], r"row 60 \(counted from 0\) has 65 symbols; --max-word-length is 64"),
    ],
)
def test_an_invalid_text_is_reported_with_its_row(run_passes, texts, message):
    with pytest.raises(CorpusError, match=message):
        run_passes(texts)
