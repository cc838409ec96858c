"""Which outputs a command resumes and which it refuses."""

import pytest

pytest.importorskip("pyarrow")

from types import SimpleNamespace

from unrolled_corpus.errors import CorpusError
from unrolled_corpus.manifest import JobSpec, check_same_job, read_manifest

from tests.support.corpus.corpora import job_spec, parameters, write_corpus

pytestmark = pytest.mark.corpus


def test_another_job_is_refused_with_the_difference(tmp_path):
    corpus = write_corpus(tmp_path / "c.parquet", ["a"])
    found = job_spec(corpus, tmp_path / "out").describe()
    check_same_job(found | {"fingerprint": "f", "derived_alphabet": "a"}, found, output=tmp_path)
    wanted = job_spec(corpus, tmp_path / "out", hidden_size=9).describe()
    with pytest.raises(CorpusError, match="another job: hidden_size is 8 there and 9 here; give the same"):
        check_same_job(found, wanted, output=tmp_path)
    write_corpus(corpus, ["b"])
    with pytest.raises(CorpusError, match=r"input\.files is"):
        check_same_job(found, job_spec(corpus, tmp_path / "out").describe(), output=tmp_path)


def test_a_job_is_not_resumed_with_other_tables_of_unicode(tmp_path, monkeypatch):
    """Its texts would have other tokens."""
    spec = job_spec(write_corpus(tmp_path / "c.parquet", ["a"]), tmp_path)
    found = spec.describe()
    monkeypatch.setattr("unrolled_corpus.manifest.unidata_version", "9.0.0")
    with pytest.raises(CorpusError, match=r"versions\.unicode is '.*' there and '9\.0\.0' here"):
        check_same_job(found, spec.describe(), output=tmp_path)


@pytest.mark.parametrize(
    ("name", "there", "here"),
    [
        ("on_empty", "skip", "zero"),
        ("unknown_symbol", "error", "skip"),
        ("truncate", False, True),
        ("tokenize", True, False),
        ("word_embedding_size", None, 3),
        ("leak_rate", 1.0, 0.5),
    ],
)
def test_a_job_is_not_resumed_with_another_treatment_of_its_texts(tmp_path, name, there, here):
    corpus = write_corpus(tmp_path / "c.parquet", ["a"])
    found, wanted = (job_spec(corpus, tmp_path, **{name: value}).describe() for value in (there, here))
    with pytest.raises(CorpusError, match=f"{name} is {there!r} there and {here!r} here"):
        check_same_job(found, wanted, output=tmp_path)


def test_a_folder_or_file_with_other_content_is_refused(tmp_path):
    (tmp_path / "thesis.tex").touch()
    for path in (tmp_path, tmp_path / "thesis.tex"):
        with pytest.raises(CorpusError, match="not an output of this command; name a new folder"):
            read_manifest(path)


def test_more_parts_than_file_names_have_digits_are_refused():
    def slice_count(row_count):
        source = SimpleNamespace(row_count=row_count)
        return JobSpec(parameters=parameters(part_rows=10), source=source, workspace=None).slice_count

    assert slice_count(1_000_000) == 100_000
    with pytest.raises(CorpusError, match=r"100,001 parts at --part-rows 10; .*give --part-rows 11 or more"):
        slice_count(1_000_001)
