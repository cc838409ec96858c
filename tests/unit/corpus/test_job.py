"""Jobs whose workers fail or write elsewhere; a function that fails on demand replaces Ray."""

import pytest

pytest.importorskip("pyarrow")

from unrolled_corpus import ray_runner
from unrolled_corpus.errors import CorpusError
from unrolled_corpus.job import Job
from unrolled_corpus.manifest import read_manifest
from unrolled_corpus.progress import Display
from unrolled_corpus.workspace import write_json

from tests.support.corpus.corpora import job_spec, write_corpus

pytestmark = pytest.mark.corpus


@pytest.fixture
def make_job(tmp_path):
    """A function that makes a job for texts, with changed parameters."""

    def make(texts, **changed):
        spec = job_spec(write_corpus(tmp_path / "c.parquet", texts), tmp_path / "out", **changed)
        spec.workspace.output.mkdir()
        return Job(spec=spec, display=Display(), address=None, worker_count=1, state_memory_bytes=0)

    return make


@pytest.fixture
def job(make_job):
    return make_job(["ba"], alphabet=None)


@pytest.fixture
def run_pass(job, tmp_path, monkeypatch):
    """A function that runs three units; each attempt finishes a given number, or fails at once if None."""

    def run(attempts):
        left_attempts = iter(attempts)

        def run_units(numbers, _make_function, *, use_actors, worker_count):
            count = next(left_attempts)
            for number in numbers[:count]:
                (tmp_path / f"{number}").touch()
                yield {}
            if count is None or count < len(numbers):
                raise ray_runner.WorkerLostError("a worker failed: gone")

        monkeypatch.setattr(ray_runner, "run_units", run_units)
        job._run_pass("reading", [tmp_path / f"{number}" for number in range(3)], None)

    return run


def test_workers_may_die_three_times_in_a_row_without_progress(run_pass, capsys):
    run_pass([0, 0, 0, 1, 0, 0, 0, 2])
    assert capsys.readouterr().err.count("gone; going on with what is left\n") == 7


def test_a_fourth_death_without_progress_ends_the_job_which_can_be_resumed(run_pass):
    with pytest.raises(CorpusError, match=r"gone; 4 times.*same command again: it resumes"):
        run_pass([1, 0, 0, 0, 0])


def test_results_that_this_machine_does_not_see_end_the_job(job, tmp_path, monkeypatch):
    monkeypatch.setattr(
        ray_runner, "run_units", lambda *_, use_actors, worker_count: iter([{}] * worker_count)
    )
    with pytest.raises(CorpusError, match="does not see it; OUTPUT must be on storage that all machines see"):
        job._run_pass("reading", [tmp_path / "0"], None)


def test_a_job_killed_after_the_partition_still_writes_the_alphabet_to_the_manifest(job, capsys):
    job._claim_output()
    job.workspace.prepare()
    write_json(job.workspace.partition_file, {"alphabet": "ba", "borders": []})
    assert job._load_partition([]).alphabet == job._load_partition([]).alphabet == "ba"
    assert read_manifest(job.workspace.output)["derived_alphabet"] == "ba"
    assert capsys.readouterr().err.count("alphabet: 2 symbols") == 1


@pytest.fixture
def check_empty_rows(make_job, capsys):
    """A function that checks slices of ten rows, some of them empty, and returns count and message."""

    def check(empty_counts, on_empty, **changed):
        job = make_job(["a"] * (10 * len(empty_counts)), on_empty=on_empty, **changed)
        records = [
            {"empty_rows": count, "first_empty_row": 10 * at + 3 if count else None}
            for at, count in enumerate(empty_counts)
        ]
        return job._check_empty_rows(records), capsys.readouterr().err

    return check


def test_all_empty_rows_are_refused_in_one_message_with_the_remedy(check_empty_rows):
    message = (
        r"^3 of 30 rows are null or have no symbols in the column 'text', first row 13 \(counted from 0\); "
        "give them texts or drop them, or say --on-empty skip or zero with another OUTPUT$"
    )
    with pytest.raises(CorpusError, match=message):
        check_empty_rows([0, 1, 2], "error")


@pytest.mark.parametrize(("on_empty", "what"), [("skip", "they are left out"), ("zero", "they get zeros")])
def test_the_treatment_of_empty_rows_is_reported_once(check_empty_rows, on_empty, what):
    count, message = check_empty_rows([0, 1, 2], on_empty)
    assert count == 3
    assert message == (
        "3 of 30 rows are null or have no symbols in the column 'text', first row 13 (counted from 0); "
        f"{what}\n"
    )


@pytest.mark.parametrize("on_empty", ["error", "skip", "zero"])
def test_without_empty_rows_nothing_is_reported(check_empty_rows, on_empty):
    assert check_empty_rows([0, 0], on_empty) == (0, "")


@pytest.mark.parametrize("on_empty", ["error", "skip", "zero"])
def test_a_corpus_without_texts_is_refused(check_empty_rows, on_empty):
    with pytest.raises(
        CorpusError, match=r"^20 of 20 rows are null .* nothing is left to compute; name another"
    ):
        check_empty_rows([10, 10], on_empty)


def test_a_corpus_of_letters_that_are_all_left_out_needs_another_alphabet(check_empty_rows):
    with pytest.raises(
        CorpusError, match="--column, or give an --alphabet that has its letters, with another"
    ):
        check_empty_rows([10, 10], "skip", unknown_symbol="skip")
