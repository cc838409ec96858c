"""Validation of paths and columns."""

import pytest

pytest.importorskip("pyarrow")

from unrolled_corpus.cli_options import CorpusFlags, check_options
from unrolled_corpus.errors import CorpusError
from unrolled_corpus.parameters import Parameters

pytestmark = pytest.mark.corpus


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"keep": "id, id"}, "--keep names 'id' twice"),
        ({"keep": "id,seed_7"}, "--keep has 'seed_7', which is the column of a seed"),
        (
            {"keep": "row", "on_empty": "skip"},
            "--keep has 'row', the column of row numbers with --on-empty skip",
        ),
        ({"output_folder": "in/deep/out"}, "OUTPUT .* is in INPUT"),
        ({"output_folder": "linked/out"}, "OUTPUT .* is in INPUT"),
    ],
)
def test_a_conflicting_output_is_refused_before_anything_starts(tmp_path, changed, message):
    (tmp_path / "in").mkdir()
    (tmp_path / "linked").symlink_to("in")
    given = {"output_folder": "out", "keep": "", "on_empty": "error"} | changed
    parameters = Parameters(hidden_size=2, seeds="0-9", on_empty=given["on_empty"])
    output = f"{tmp_path}/{given['output_folder']}"
    with pytest.raises(CorpusError, match=message):
        check_options(
            CorpusFlags(source=f"{tmp_path}/in", output_folder=output, keep=given["keep"]), parameters
        )


@pytest.mark.parametrize("given", ["s3://bucket/x", "hdfs://h/x", "file:///tmp/x", "", "~nobody-here/x"])
def test_a_path_that_is_not_local_is_refused_with_its_argument(tmp_path, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    paths = {"source": "in", "output_folder": "out"}
    for argument, name in (("source", "INPUT"), ("output_folder", "OUTPUT")):
        with pytest.raises(CorpusError, match=f"^{name} .*(a URL|empty|home directory that is not known)"):
            check_options(CorpusFlags(**paths | {argument: given}), Parameters(hidden_size=2))
    if given:
        with pytest.raises(CorpusError, match=r"^--vectors (is|~nobody-here/x begins)"):
            check_options(CorpusFlags(**paths), Parameters(hidden_size=2, vectors=f"t={given}"))
    assert not list(tmp_path.iterdir())


def test_the_name_of_an_alphabet_stands_for_its_letters():
    corpus = CorpusFlags(source="in", output_folder="out")
    assert check_options(corpus, Parameters(hidden_size=2, alphabet="digits")).alphabet == "0123456789"
    assert check_options(corpus, Parameters(hidden_size=2, alphabet="01")).alphabet == "01"


def test_a_tilde_is_expanded_in_every_path(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    corpus = CorpusFlags(source="~/in", output_folder="~/out")
    assert (corpus.source_path, corpus.output_path) == (tmp_path / "in", tmp_path / "out")
    given = check_options(corpus, Parameters(hidden_size=2, vectors="t=~/v.txt"))
    assert given.vectors == f"t={tmp_path}/v.txt"
