"""Options for real text: each row has the vector that the SDK gives for its text with the same options."""

import pytest

pytest.importorskip("pyarrow")

import numpy as np
from unrolled.text import tokenize
from unrolled_client import Client
from unrolled_corpus.errors import CorpusError

from tests.support.corpus.corpora import ALPHABET, random_texts, vectors_of

pytestmark = pytest.mark.corpus
LETTERS = [*random_texts(20), "a-b", "ab", "--", "-" * 9, "abcabcabc", "abcabcx", None, "a-b" * 20, "x", ""]
SENTENCES = ["The cat.", "the cat .", "the  cat", "It isn't", "...", " \n", None, "cat " * 9, "the the the"]
CUT = {"max_word_length": 4, "truncate": True}
SKIP, ZERO = {"unknown_symbol": "skip"}, {"unknown_symbol": "zero"}


def expected_vectors(texts, *, max_word_length=64, local=None, **options):
    with Client.local(max_word_length=max_word_length, **local or {}) as client:
        return client.forward(texts, hidden_size=8, output="last", **options).outputs


@pytest.mark.parametrize("options", [ZERO, ZERO | CUT, ZERO | {"cell": "lstm", "embedding_size": 3}])
def test_unknown_letters_may_be_steps_with_zeros(run_passes, options):
    table = run_passes(LETTERS, on_empty="zero", **options).table
    texts = [text or "" for text in LETTERS]
    vectors = expected_vectors(texts, alphabet=ALPHABET, on_empty="zero", **options)
    assert vectors_of(table, 0).tobytes() == vectors.tobytes()


@pytest.mark.parametrize("options", [SKIP, SKIP | CUT, SKIP | CUT | {"cell": "lstm", "embedding_size": 3}])
def test_letters_are_left_out_and_texts_are_cut(run_passes, options):
    table = run_passes(LETTERS, on_empty="skip", keep=("text",), **options).table
    has_letters = [any(letter in ALPHABET for letter in text or "") for text in LETTERS]
    assert table["row"].to_pylist() == np.flatnonzero(has_letters).tolist()
    texts = [text for text, is_kept in zip(LETTERS, has_letters, strict=True) if is_kept]
    assert table["text"].to_pylist() == texts, "copied columns are as they were"
    vectors = expected_vectors(texts, alphabet=ALPHABET, **options)
    assert vectors_of(table, 0).tobytes() == vectors.tobytes()


def test_echo_state_networks_are_those_of_the_sdk(run_passes):
    options = {"leak_rate": 0.3, "input_scaling": 2.0, "density": 0.5, "spectral_radius": 0.9}
    texts = random_texts(20)
    table = run_passes(texts, **options).table
    vectors = expected_vectors(texts, alphabet=ALPHABET, **options)
    assert vectors_of(table, 0).tobytes() == vectors.tobytes()


def test_texts_that_become_equal_are_computed_once(run_passes):
    passes = run_passes(["ab", "a-b", "-ab", "abc"] * 9, **SKIP)
    assert sum(record["texts"] for record in passes.ranges) == 2


def test_all_states_are_those_of_the_letters_that_are_left(run_passes):
    table = run_passes(["a-b", "--", "abcde"], output="all", on_empty="zero", **SKIP | CUT).table
    assert [len(states) for states in table["seed_0"].to_pylist()] == [2, 0, 4]


def test_letters_that_are_cut_off_are_part_of_the_derived_alphabet_as_in_the_sdk(run_passes):
    texts = ["abcdefg", "ba"]
    passes = run_passes(texts, alphabet=None, **CUT)
    assert passes.partition.alphabet == "abcdefg"
    vectors = expected_vectors(texts, **CUT)
    assert vectors_of(passes.table, 0).tobytes() == vectors.tobytes()


@pytest.mark.parametrize("cut", [{}, CUT])
def test_sentences_are_tokenized_and_cut(run_passes, tmp_path, cut):
    file = tmp_path / "vectors.txt"
    file.write_text("the 1 2 3\ncat 4 5 6\n. 7 8 9\nn't 1 0 1\n")
    options = {"unknown_word": "zero", **cut}
    given = {"vectors": f"v={file}", "alphabet": None, "tokenize": True, "on_empty": "skip"}
    table = run_passes(SENTENCES, **given, **options).table
    kept = [row for row, text in enumerate(SENTENCES) if text and text.strip()]
    assert table["row"].to_pylist() == kept
    texts = [tokenize(SENTENCES[row]) for row in kept]
    vectors = expected_vectors(texts, local={"vectors": f"v={file}"}, vectors="v", **options)
    assert vectors_of(table, 0).tobytes() == vectors.tobytes()


@pytest.mark.parametrize("options", [{}, CUT, {"cell": "gru", "bidirectional": True}])
def test_every_word_has_a_random_vector(run_passes, options):
    options = {"word_embedding_size": 5, "on_empty": "zero", **options}
    passes = run_passes(SENTENCES, alphabet=None, tokenize=True, seeds=(0, 3), **options)
    texts = [tokenize(text or "") for text in SENTENCES]
    for seed in (0, 3):
        vectors = expected_vectors(texts, seed=seed, **options)
        assert vectors_of(passes.table, seed).tobytes() == vectors.tobytes()


def test_what_is_not_left_out_or_cut_ends_the_job_with_a_remedy(run_passes):
    remedy = "add it, drop the row, or say --unknown-symbol skip or zero, with another OUTPUT"
    with pytest.raises(CorpusError, match=f"not in --alphabet; {remedy}$"):
        run_passes(["a", "a-b"])
    with pytest.raises(CorpusError, match=r"row 1 .* has 65 symbols; .* --truncate, with another OUTPUT$"):
        run_passes(["a-" * 64, "a-" * 65], **SKIP)
