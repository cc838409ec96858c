"""What a job does when workers fail or are not seen; in place of Ray stands a function that fails at will."""

import pytest

pytest.importorskip("pyarrow")

from unrolled_corpus import ray_runner
from unrolled_corpus.errors import CorpusError
from unrolled_corpus.job import Job, Placement, part_count
from unrolled_corpus.manifest import read_manifest
from unrolled_corpus.parquet_input import open_source
from unrolled_corpus.progress import Display
from unrolled_corpus.workspace import Work, write_json

from tests.integration.corpus.corpora import parameters, write_corpus

pytestmark = pytest.mark.corpus


@pytest.fixture
def job(tmp_path):
    source = open_source(write_corpus(tmp_path / "c.parquet", ["ba"]), column="text", keep=())
    (tmp_path / "out").mkdir()
    return Job(
        parameters=parameters(alphabet=None),
        source=source,
        output=tmp_path / "out",
        placement=Placement(address=None, workers=1, state_memory_bytes=0),
        display=Display(),
    )


@pytest.fixture
def do_pass(job, tmp_path, monkeypatch):
    """A function that does three units, where each attempt does so many or, at None, dies at once."""

    def do(attempts):
        left_attempts = iter(attempts)

        def run(numbers, _done, *, worker_count):
            count = next(left_attempts)
            for number in numbers[:count]:
                (tmp_path / f"{number}").touch()
                yield {}
            if count is None or count < len(numbers):
                raise ray_runner.WorkerLostError("a worker failed: gone")

        monkeypatch.setattr(ray_runner, "run", run)
        job._pass("reading", [tmp_path / f"{number}" for number in range(3)], ray_runner.Pass(make=None))

    return do


def test_workers_may_die_thrice_in_a_row_before_anything_more_is_finished(do_pass, capsys):
    do_pass([0, 0, 0, 1, 0, 0, 0, 2])
    assert capsys.readouterr().err.count("gone; going on with what is left\n") == 7


def test_workers_that_die_a_fourth_time_end_the_job_which_the_same_command_resumes(do_pass):
    with pytest.raises(CorpusError, match=r"gone; 4 times.*same command again: it resumes"):
        do_pass([1, 0, 0, 0, 0])


def test_results_that_the_workers_wrote_and_nobody_sees_here_end_the_job(job, tmp_path, monkeypatch):
    monkeypatch.setattr(ray_runner, "run", lambda *_, worker_count: iter([{}] * worker_count))
    with pytest.raises(CorpusError, match="does not see it; OUTPUT must be on storage that all machines see"):
        job._pass("reading", [tmp_path / "0"], ray_runner.Pass(make=None))


def test_an_alphabet_gets_into_the_manifest_though_a_kill_came_after_the_plan(job, capsys):
    work = Work(job.output)
    job._claim({})
    work.prepare()
    write_json(work.plan, {"alphabet": "ba", "borders": []})
    assert job._plan(work, []).alphabet == job._plan(work, []).alphabet == "ba"
    assert read_manifest(job.output)["derived_alphabet"] == "ba"
    assert capsys.readouterr().err.count("alphabet: 2 symbols") == 1


def test_more_parts_than_names_have_digits_are_refused():
    assert part_count(1_000_000, 10) == 100_000
    with pytest.raises(CorpusError, match=r"100,001 parts at --part-rows 10; .*give --part-rows 11 or more"):
        part_count(1_000_001, 10)
