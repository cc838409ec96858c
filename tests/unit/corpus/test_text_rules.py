"""The texts that the networks read, and the file of word vectors on each machine."""

import pytest

pytest.importorskip("pyarrow")

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from unrolled.text import tokenize
from unrolled_client.low_level import check_request
from unrolled_corpus.cli_options import CorpusFlags, check_options
from unrolled_corpus.errors import CorpusError
from unrolled_corpus.parameters import Parameters
from unrolled_corpus.text_rules import TextRules, open_vector_table
from unrolled_server.exit_codes import EXIT_VECTORS

pytestmark = pytest.mark.corpus
TEXTS = st.lists(st.text("ab-c' \n\u3000", max_size=12), min_size=1, max_size=5)


@given(TEXTS, st.sampled_from(["error", "skip"]), st.integers(1, 5), st.booleans())
def test_letters_are_prepared_as_by_the_sdk(texts, unknown_symbol, max_length, truncate):
    given = {"unknown_symbol": unknown_symbol, "truncate": truncate}
    request = check_request(texts, hidden_size=2, alphabet="ab c", options=given)
    rules = TextRules(Parameters(hidden_size=2, alphabet="ab c", max_word_length=max_length, **given), None)
    expected = request.truncated(max_length) if truncate else request
    assert rules.prepare(texts) == expected.words
    assert rules.lengths(expected.words) == expected.lengths


@given(TEXTS, st.booleans(), st.integers(1, 5), st.booleans())
def test_sentences_are_prepared_as_by_the_sdk(texts, has_tokens, max_length, truncate):
    given = {"word_embedding_size": 3, "truncate": truncate}
    words = list(map(tokenize, texts)) if has_tokens else texts
    request = check_request(words, hidden_size=2, options=given)
    asked = Parameters(hidden_size=2, tokenize=has_tokens, max_word_length=max_length, **given)
    expected = request.truncated(max_length) if truncate else request
    assert TextRules(asked, None).prepare(texts) == expected.words
    assert TextRules(asked, None).lengths(expected.words) == expected.lengths


def test_the_vectors_file_has_an_absolute_path_and_the_same_content_on_every_machine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    Path("two.txt").write_text("the 1 2 3\ncat 4 5 6\n")
    corpus = CorpusFlags(source="c.parquet", output_folder="out")
    given = check_options(corpus, Parameters(hidden_size=2, vectors="two=two.txt"))
    assert given.vectors == f"two={tmp_path / 'two.txt'}"
    digest = open_vector_table(given).digest
    assert open_vector_table(given, digest=digest).digest == digest
    with pytest.raises(CorpusError, match="and other where the command was given") as raised:
        open_vector_table(given, digest="other")
    assert raised.value.exit_code == EXIT_VECTORS
