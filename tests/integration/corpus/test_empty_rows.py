"""Rows whose text is null or has no symbols: refused, left out or zeros, in every form of the output."""

import pytest

pytest.importorskip("pyarrow")

import numpy as np
import pyarrow as pa
from unrolled_corpus.errors import CorpusError
from unrolled_corpus.job import Job, Placement
from unrolled_corpus.manifest import check_same, describe
from unrolled_corpus.parquet_input import open_source
from unrolled_corpus.progress import Display
from unrolled_server.engine import plain_network

from tests.integration.corpus.corpora import (
    ALPHABET,
    computed_directly,
    parameters,
    random_texts,
    vectors_of,
    write_corpus,
)

pytestmark = pytest.mark.corpus
# The third slice of seven rows has no text at all.
TEXTS = [None, *random_texts(6), *random_texts(7, seed=1), *[None, ""] * 3, "", "ab", "", "ab", None]
ROWS = [row for row, text in enumerate(TEXTS) if text]


@pytest.fixture
def folder(tmp_path):
    """A folder with the texts and their rows' numbers."""
    (tmp_path / "in").mkdir()
    write_corpus(tmp_path / "in" / "a.parquet", TEXTS, id=range(len(TEXTS)))
    return tmp_path / "in"


@pytest.mark.parametrize("output", ["last", "mean", "max", "all"])
def test_left_out_rows_leave_the_others_their_vectors_and_numbers(run_passes, folder, output):
    table = run_passes(folder, keep=("id", "text"), on_empty="skip", output=output, seeds=(0, 3)).table
    assert table.column_names == ["row", "id", "text", "seed_0", "seed_3"]
    assert table["row"].to_pylist() == table["id"].to_pylist() == ROWS
    texts = [TEXTS[row] for row in ROWS]
    assert table["text"].to_pylist() == texts
    answer = computed_directly(texts, plain_network(len(ALPHABET), 8, 3), output=output)
    states = answer.values
    if output == "all":
        states = [of_text[:length] for of_text, length in zip(states, answer.lengths, strict=True)]
    assert vectors_of(table, 3).tobytes() == np.concatenate(list(states)).tobytes()


@pytest.mark.parametrize("output", ["last", "mean", "max"])
def test_a_row_without_a_text_may_have_a_vector_of_zeros(run_passes, folder, output):
    table = run_passes(folder, keep=("id",), on_empty="zero", output=output).table
    assert table.column_names == ["id", "seed_0"]
    assert table["id"].to_pylist() == list(range(len(TEXTS)))
    vectors = vectors_of(table, 0).reshape(len(TEXTS), 8)
    answer = computed_directly(
        [TEXTS[row] for row in ROWS], plain_network(len(ALPHABET), 8, 0), output=output
    )
    assert vectors[ROWS].tobytes() == answer.values.tobytes()
    assert not vectors[[row for row in range(len(TEXTS)) if row not in ROWS]].any()


def test_a_row_without_a_text_may_have_no_states(run_passes, folder):
    table = run_passes(folder, on_empty="zero", output="all").table
    assert [len(states) for states in table["seed_0"].to_pylist()] == [len(text or "") for text in TEXTS]


def test_sentences_without_words_are_rows_without_a_text(run_passes, tmp_path):
    file = tmp_path / "two.txt"
    file.write_text("the 1 2 3\ncat 4 5 6\n")
    options = {"vectors": f"two={file}", "alphabet": None, "on_empty": "skip"}
    assert run_passes(["the cat", " \u3000", "\n", "cat"], **options).table["row"].to_pylist() == [0, 3]


def test_blanks_are_letters(run_passes):
    assert run_passes([" ", "  "], on_empty="skip").table.num_rows == 2


@pytest.mark.parametrize("on_empty", ["skip", "zero"])
def test_where_no_row_is_empty_the_vectors_are_the_same(run_passes, on_empty):
    table = run_passes(random_texts(20), on_empty=on_empty).table
    values = computed_directly(random_texts(20), plain_network(len(ALPHABET), 8, 0)).values
    assert vectors_of(table, 0).tobytes() == values.tobytes()


def test_nested_columns_of_the_rows_that_stay_are_copied(run_passes, tmp_path):
    lists = pa.array([["x"], [], None, ["y", "z"]])
    corpus = write_corpus(tmp_path / "c.parquet", ["a", None, "b", "c"], tags=lists)
    table = run_passes(corpus, keep=("tags",), on_empty="skip").table
    assert table["tags"].to_pylist() == [["x"], None, ["y", "z"]]


@pytest.fixture
def judged(tmp_path, capsys):
    """A function that judges slices of ten rows with so many empty ones; gives count and message."""

    def judged(empty_counts, on_empty):
        texts = ["a"] * (10 * len(empty_counts))
        job = Job(
            parameters=parameters(on_empty=on_empty),
            source=open_source(write_corpus(tmp_path / "c.parquet", texts), column="text", keep=()),
            output=tmp_path / "out",
            placement=Placement(address=None, workers=1, state_memory_bytes=0),
            display=Display(),
        )
        records = [
            {"empty_rows": count, "first_empty_row": 10 * at + 3 if count else None}
            for at, count in enumerate(empty_counts)
        ]
        return job._judge_empty_rows(records), capsys.readouterr().err

    return judged


def test_all_empty_rows_are_refused_in_one_message_with_the_remedy(judged):
    said = (
        r"^3 of 30 rows are null or have no symbols in the column 'text', first row 13 \(counted from 0\); "
        "give them texts or drop them, or say --on-empty skip or zero with another OUTPUT$"
    )
    with pytest.raises(CorpusError, match=said):
        judged([0, 1, 2], "error")


@pytest.mark.parametrize(("on_empty", "what"), [("skip", "they are left out"), ("zero", "they get zeros")])
def test_what_happens_to_empty_rows_is_said_once(judged, on_empty, what):
    count, said = judged([0, 1, 2], on_empty)
    assert count == 3
    assert said == (
        "3 of 30 rows are null or have no symbols in the column 'text', first row 13 (counted from 0); "
        f"{what}\n"
    )


@pytest.mark.parametrize("on_empty", ["error", "skip", "zero"])
def test_where_no_row_is_empty_nothing_is_said(judged, on_empty):
    assert judged([0, 0], on_empty) == (0, "")


@pytest.mark.parametrize("on_empty", ["error", "skip", "zero"])
def test_a_corpus_without_a_text_is_refused(judged, on_empty):
    with pytest.raises(
        CorpusError, match=r"^20 of 20 rows are null .* nothing is left to compute; name another"
    ):
        judged([10, 10], on_empty)


def test_a_job_is_not_resumed_with_another_choice(tmp_path):
    source = open_source(write_corpus(tmp_path / "c.parquet", ["a"]), column="text", keep=())
    found = describe(parameters(on_empty="skip"), source)
    with pytest.raises(CorpusError, match="on_empty is 'skip' there and 'zero' here"):
        check_same(found, describe(parameters(on_empty="zero"), source), output=tmp_path)
