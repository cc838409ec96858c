"""Rows whose text is null or has no symbols are refused, skipped or zero, in every output form."""

import pytest

pytest.importorskip("pyarrow")

import numpy as np
import pyarrow as pa
from unrolled_server.engine import plain_network

from tests.support.corpus.corpora import (
    ALPHABET,
    computed_directly,
    random_texts,
    vectors_of,
    write_corpus,
)

pytestmark = pytest.mark.corpus
# The third slice of seven rows contains no text.
TEXTS = [None, *random_texts(6), *random_texts(7, seed=1), *[None, ""] * 3, "", "ab", "", "ab", None]
ROWS = [row for row, text in enumerate(TEXTS) if text]


@pytest.fixture
def folder(tmp_path):
    """A folder with the texts and their rows' numbers."""
    (tmp_path / "in").mkdir()
    write_corpus(tmp_path / "in" / "a.parquet", TEXTS, id=range(len(TEXTS)))
    return tmp_path / "in"


@pytest.mark.parametrize("output", ["last", "mean", "max", "all"])
def test_skipped_rows_do_not_change_the_vectors_and_numbers_of_others(run_passes, folder, output):
    table = run_passes(folder, keep=("id", "text"), on_empty="skip", output=output, seeds=(0, 3)).table
    assert table.column_names == ["row", "id", "text", "seed_0", "seed_3"]
    assert table["row"].to_pylist() == table["id"].to_pylist() == ROWS
    texts = [TEXTS[row] for row in ROWS]
    assert table["text"].to_pylist() == texts
    answer = computed_directly(texts, plain_network(len(ALPHABET), 8, 3), output=output)
    states = answer.values
    if output == "all":
        states = [of_text[: len(text)] for of_text, text in zip(states, texts, strict=True)]
    assert vectors_of(table, 3).tobytes() == np.concatenate(list(states)).tobytes()


@pytest.mark.parametrize("output", ["last", "mean", "max"])
def test_an_empty_row_may_have_a_zero_vector(run_passes, folder, output):
    table = run_passes(folder, keep=("id",), on_empty="zero", output=output).table
    assert table.column_names == ["id", "seed_0"]
    assert table["id"].to_pylist() == list(range(len(TEXTS)))
    vectors = vectors_of(table, 0).reshape(len(TEXTS), 8)
    answer = computed_directly(
        [TEXTS[row] for row in ROWS], plain_network(len(ALPHABET), 8, 0), output=output
    )
    assert vectors[ROWS].tobytes() == answer.values.tobytes()
    assert not vectors[[row for row in range(len(TEXTS)) if row not in ROWS]].any()


def test_an_empty_row_may_have_an_empty_list_of_states(run_passes, folder):
    table = run_passes(folder, on_empty="zero", output="all").table
    assert [len(states) for states in table["seed_0"].to_pylist()] == [len(text or "") for text in TEXTS]


def test_sentences_without_words_are_empty_rows(run_passes, tmp_path):
    file = tmp_path / "two.txt"
    file.write_text("the 1 2 3\ncat 4 5 6\n")
    options = {"vectors": f"two={file}", "alphabet": None, "on_empty": "skip"}
    assert run_passes(["the cat", " \u3000", "\n", "cat"], **options).table["row"].to_pylist() == [0, 3]


def test_a_space_is_a_letter(run_passes):
    assert run_passes([" ", "  "], on_empty="skip").table.num_rows == 2


@pytest.mark.parametrize("on_empty", ["skip", "zero"])
def test_without_empty_rows_the_vectors_are_the_same(run_passes, on_empty):
    table = run_passes(random_texts(20), on_empty=on_empty).table
    values = computed_directly(random_texts(20), plain_network(len(ALPHABET), 8, 0)).values
    assert vectors_of(table, 0).tobytes() == values.tobytes()


def test_nested_columns_of_the_remaining_rows_are_copied(run_passes, tmp_path):
    lists = pa.array([["x"], [], None, ["y", "z"]])
    corpus = write_corpus(tmp_path / "c.parquet", ["a", None, "b", "c"], tags=lists)
    table = run_passes(corpus, keep=("tags",), on_empty="skip").table
    assert table["tags"].to_pylist() == [["x"], None, ["y", "z"]]
