"""`unrolled-map` on Ray: on one machine and on two, killed and resumed, interrupted and refused."""

import json
import signal
import time

import pytest

pytest.importorskip("pyarrow")

import psutil
import pyarrow.parquet as pq
from unrolled_server.engine import plain_network

from tests.support.corpus.corpora import (
    ALPHABET,
    computed_directly,
    random_texts,
    vectors_of,
    write_corpus,
)
from tests.support.processes import process as command_process
from tests.support.two_machines import environment

pytestmark = pytest.mark.corpus

TIMEOUT_S = 120
TEXTS = random_texts(4_000)
OPTIONS = (
    "--hidden-size",
    "16",
    "--seeds",
    "0,7",
    "--part-rows",
    "200",
    "--keep",
    "id",
    "--alphabet",
    ALPHABET,
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus") / "c.parquet", TEXTS, id=range(len(TEXTS)))


def started(*arguments):
    """Starts the command in a separate process and kills it at the end."""
    return command_process(*map(str, arguments), module="unrolled_corpus", env=environment())


def run(*arguments):
    """Returns exit code, standard output and standard error of the command."""
    with started(*arguments) as process:
        printed, errors = process.communicate(timeout=TIMEOUT_S)
        return process.returncode, printed, errors


def wait_until(process, is_true):
    end_s = time.monotonic() + TIMEOUT_S
    while not is_true():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end_s
        time.sleep(0.005)


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def whole(corpus, cluster_address, tmp_path_factory):
    """Returns the output of an undisturbed job, and its summary."""
    output = tmp_path_factory.mktemp("whole") / "out"
    exit_code, printed, errors = run(corpus, output, *OPTIONS, "--address", cluster_address, "--json")
    assert (exit_code, errors) == (0, "")
    return output, json.loads(printed)


def test_two_machines_write_the_bits_of_one_engine_in_the_order_of_the_rows(whole):
    output, counts = whole
    table = pq.read_table(output)
    assert table["id"].to_pylist() == list(range(len(TEXTS)))
    for seed in (0, 7):
        values = computed_directly(TEXTS, plain_network(len(ALPHABET), 16, seed)).values
        assert vectors_of(table, seed).tobytes() == values.tobytes()
    assert counts["rows"] == len(TEXTS)


def test_the_engines_of_all_machines_compute_each_distinct_text_once(whole):
    _, counts = whole
    distinct = set(TEXTS)
    assert counts["texts"] == len(distinct)
    assert counts["asked_rows"] == 2 * sum(map(len, distinct))


def test_a_finished_output_has_a_success_mark_a_manifest_and_no_workspace(whole):
    output, _ = whole
    assert sorted(content(output)) == [
        "_SUCCESS",
        "_manifest.json",
        *(f"part-{number:05}.parquet" for number in range(20)),
    ]
    manifest = json.loads((output / "_manifest.json").read_text())
    assert manifest["parameters"]["hidden_size"] == 16
    assert len(manifest["fingerprint"]) == 16


def test_a_job_that_is_killed_in_every_pass_and_resumed_writes_the_same_bytes(
    whole, corpus, cluster_address, tmp_path
):
    output = tmp_path / "out"
    arguments = (corpus, output, *OPTIONS, "--address", cluster_address)
    for place in ("_work/slices/0*", "_work/ranges/0*", "part-*"):
        with started(*arguments) as process:
            wait_until(process, lambda place=place: len(list(output.glob(place))) > 1)
            process.kill()
        assert not (output / "_SUCCESS").exists()
    exit_code, _, errors = run(*arguments)
    assert exit_code == 0, errors
    assert "done already" in errors
    assert content(output) == content(whole[0])


def test_a_finished_job_is_not_repeated(whole, corpus):
    output, counts = whole
    before = content(output)
    exit_code, printed, errors = run(corpus, output, *OPTIONS, "--json")
    assert exit_code == 0
    assert "finished already" in errors
    assert json.loads(printed)["texts"] == counts["texts"]
    assert content(output) == before


def test_other_parameters_are_refused_with_the_difference(whole, corpus):
    exit_code, _, errors = run(corpus, whole[0], *OPTIONS, "--cell", "gru")
    assert exit_code == 2
    assert "cell is 'rnn' there and 'gru' here" in errors


@pytest.mark.parametrize(
    ("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_the_job_with_a_hint_that_the_same_command_resumes_it(
    corpus, cluster_address, tmp_path, number, exit_code
):
    output = tmp_path / "out"
    with started(corpus, output, *OPTIONS, "--address", cluster_address) as process:
        wait_until(process, lambda: list(output.glob("_work/slices/0*")))
        process.send_signal(number)
        _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == exit_code
    assert errors.endswith("unrolled-map: interrupted; what is finished is kept; the same command resumes\n")


def test_killed_workers_lose_no_row(whole, corpus, two_machines, tmp_path):
    output = tmp_path / "out"
    with started(corpus, output, *OPTIONS, "--address", two_machines.address) as process:
        wait_until(process, lambda: len(actors(two_machines)) == 2)
        killed = actors(two_machines)
        wait_until(process, lambda: list(output.glob("_work/ranges/.0*")))  # one is in the midst of a range
        for actor in killed:
            actor.kill()
        _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, errors
    assert "going on with what is left" in errors
    assert content(output) == content(whole[0])


def actors(cluster):
    """Returns the cluster's processes that compute, which Ray titles by the name of the pass."""
    below = psutil.Process(cluster.process.pid).children(recursive=True)
    return [process for process in below if "MapWorker(Map(UnitWorker))" in title(process)]


def title(process):
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # it ended meanwhile
        return ""


def test_a_job_without_a_cluster_runs_locally_and_prints_the_alphabet(tmp_path):
    write_corpus(tmp_path / "c.parquet", ["hello", "eolll", "lleel"])
    exit_code, printed, errors = run(tmp_path / "c.parquet", tmp_path / "out", "--hidden-size", 2)
    assert exit_code == 0, errors
    assert errors == "alphabet: 4 symbols, derived from the corpus by first appearance: 'helo'\n"
    assert printed.startswith("3 rows, 3 distinct texts (100%), each computed once\n")


def test_an_invalid_text_ends_the_job_with_its_row(cluster_address, tmp_path):
    write_corpus(tmp_path / "c.parquet", ["a", None])
    arguments = (tmp_path / "c.parquet", tmp_path / "out", "--hidden-size", 2, "--address", cluster_address)
    exit_code, _, errors = run(*arguments)
    assert exit_code == 2
    assert errors == (
        "unrolled-map: 1 of 2 rows are null or have no symbols in the column 'text', first row 1 "
        "(counted from 0); give them texts or drop them, or say --on-empty skip or zero with another OUTPUT\n"
    )


def test_an_output_that_cannot_be_written_is_reported(corpus):
    exit_code, _, errors = run(corpus, "/proc/out", "--hidden-size", 2)
    assert exit_code == 1
    assert errors.startswith("unrolled-map: a file cannot be read or written: /proc/out")
    assert errors.endswith("give the same command again: it resumes\n")


def test_an_unreachable_cluster_is_reported(corpus, tmp_path):
    exit_code, _, errors = run(corpus, tmp_path / "out", "--hidden-size", 2, "--address", "127.0.0.1:9")
    assert exit_code == 3, errors
    assert "no Ray cluster at --address 127.0.0.1:9" in errors
