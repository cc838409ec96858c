"""The file of word vectors on each machine."""

import pytest

pytest.importorskip("pyarrow")

from pathlib import Path

from unrolled_corpus.cli_options import CorpusFlags, check_options
from unrolled_corpus.errors import CorpusError
from unrolled_corpus.parameters import Parameters
from unrolled_corpus.text_rules import open_vector_table
from unrolled_server.exit_codes import EXIT_VECTORS

pytestmark = pytest.mark.corpus


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
