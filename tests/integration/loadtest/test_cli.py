"""`unrolled-load` as a command: its options, reports and exit codes."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner
from unrolled_loadtest.cli import app

from tests.support.loadtest.doubles import double_process

FILES = ("--html", "--raw-log")
SHORT = ("--duration-s", 1, "--warmup-s", 0.2, "--no-live")


@pytest.fixture
def run(server_address, monkeypatch):
    """Runs the command with arguments against the suite's server."""
    monkeypatch.setenv("UNROLLED_TARGET", server_address)
    monkeypatch.setenv("COLUMNS", "80")
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def run_json(run):
    """Runs a short load and returns its JSON report."""

    def invoke(*arguments, exit_code=0):
        done = run(*SHORT, "--json", *arguments)
        assert done.exit_code == exit_code, done.output
        assert done.stdout.count("\n") == 1
        return json.loads(done.stdout)

    return invoke


@pytest.mark.load
def test_a_load_prints_what_it_measured(run):
    done = run(*SHORT, "--pool", 20)
    assert done.exit_code == 0, done.output
    assert "100.0/s offered" in done.output
    assert "p99" in done.output
    assert "equal bits" in done.output
    assert max(map(len, done.output.splitlines())) <= 80


@pytest.mark.load
def test_options_reach_the_run(run_json, tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("often\t3\nseldom\t1\n")
    told = run_json(
        *("--rate", "50,150", "--arrivals", "poisson", "--transport", "stream", "--streams", 2),
        *("--file", words, "--draw", "frequency", "--words", "1-2", "--hidden-size", "choice:2,4"),
        *(
            "--seed",
            7,
            "--cell",
            "gru",
            "--pool",
            30,
            "--processes",
            2,
            "--max-in-flight",
            99,
            "--run-seed",
            5,
        ),
    )
    load = " ".join(told["load"].values())
    for part in (
        "poisson",
        "50/s for 0.5 s, 150/s for 0.5 s",
        "1-2 words",
        "choice:2,4",
        "seed 7",
        "cell gru",
    ):
        assert part in load
    assert "words.txt, frequency" in load
    assert (told["load"]["streams"], told["load"]["in flight"], told["load"]["seed"]) == (
        "2",
        "99 at most",
        "5",
    )
    assert (told["transport"], told["generator"]["process_count"]) == ("stream", 2)
    assert told["offered_count"] == pytest.approx(100, abs=35)
    assert told["error_counts"] == {}


@pytest.mark.load
def test_answers_after_the_measurement_are_counted(run_json):
    """The only request is answered after the measurement has ended."""
    with double_process("slow") as server:
        told = run_json("--target", server.target, "--rate", 50, "--duration-s", 0.02, "--warmup-s", 0)
    assert (told["offered_count"], told["answered_count"], told["latency"]["count"]) == (1, 1, 1)
    assert told["after_end"] == {"answered_count": 1, "error_count": 0}
    assert told["achieved_per_s"] == 0


@pytest.mark.load
@pytest.mark.parametrize("seed", [-(2**63), 2**63, 2**64 - 1])
def test_a_load_accepts_every_seed_that_torch_accepts(run_json, seed):
    told = run_json("--seed", seed, "--run-seed", seed, "--rate", 20)
    assert told["error_counts"] == {}


@pytest.mark.load
def test_a_report_that_cannot_be_written_is_exit_code_4(run):
    done = run(*SHORT, "--rate", 20, "--html", "/dev/full")
    assert done.exit_code == 4
    assert "--html /dev/full could not be written: No space left" in done.stderr
    assert "20.0/s offered" in done.stdout


def test_a_load_that_cannot_start_does_not_change_files(run, tmp_path):
    files = {option: tmp_path / option for option in FILES}
    files["--html"].write_text("here before")
    arguments = [text for option, file in files.items() for text in (option, file)]
    done = run(*SHORT, "--target", "127.0.0.1:1", *arguments)
    assert done.exit_code == 1
    assert [file.name for file in tmp_path.iterdir()] == ["--html"]
    assert files["--html"].read_text() == "here before"


@pytest.mark.load
def test_concurrency_selects_a_closed_loop(run_json):
    told = run_json("--concurrency", 3, "--verify", "off", "--transport", "merged")
    assert not told["is_open"]
    assert told["verification"]["mode"] == "off"


@pytest.mark.load
def test_every_report_is_written(run, tmp_path):
    files = {name: tmp_path / name for name in ("html", "raw-log")}
    done = run(*SHORT, *(text for name, file in files.items() for text in (f"--{name}", file)))
    assert done.exit_code == 0, done.output
    assert "<html" in files["html"].read_text()
    assert len(files["raw-log"].read_text().splitlines()) == 121


@pytest.mark.load
def test_a_calibrated_run_reports_the_generators_ceiling(run_json):
    told = run_json("--calibrate")
    assert told["generator"]["ceiling_per_s"] > 100


@pytest.mark.load
def test_a_search_reports_its_trials(run_json):
    told = run_json("--find-max", "p99<5s,errors<1%", "--rate", 2_000, "--max-in-flight", 20_000)
    assert len(told["search"]["trials"]) >= 2
    assert told["search"]["found_per_s"] > 100


@pytest.mark.load
def test_a_target_that_is_never_met_is_exit_code_3(run_json):
    told = run_json("--find-max", "p50<1us", "--rate", 2, exit_code=3)
    assert told["search"]["found_per_s"] is None


@pytest.mark.load
@pytest.mark.parametrize("more", [("--rate", 200), ("--find-max", "p50<1us", "--rate", 5)])
def test_a_wrong_bit_is_exit_code_2_and_the_request_is_shown(run_json, more):
    """Also if no rate meets a target."""
    with double_process("flip=1") as server:
        told = run_json("--target", server.target, "--pool", 1, *more, exit_code=2)
    assert told["verification"]["differing_count"] > 0
    assert "words" in json.loads(told["verification"]["first_differing"])


@pytest.mark.load
def test_a_server_that_answers_nothing_is_exit_code_1(run_json):
    with double_process("fail=1") as server:
        told = run_json("--target", server.target, exit_code=1)
    assert told["error_counts"] == {"RESOURCE_EXHAUSTED": 100}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "127.0.0.1:1"], "127.0.0.1:1 is unavailable: no server listens there; start one"),
    ],
)
def test_a_failure_is_one_line_and_exit_code_1(run, arguments, message):
    done = run(*SHORT, *arguments)
    assert done.exit_code == 1
    assert done.stderr.startswith("unrolled-load: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        *(([option, "no/such/dir/x"], f"{option} no/such/dir/x") for option in FILES),
        *(([option, "s3://bucket/x"], f"{option} is 's3://bucket/x', a URL") for option in FILES),
        *(([option, "."], f"{option} . cannot be written: Is a directory") for option in FILES),
        (["--html="], "--html is ''; give the path of a file"),
        (["--html", "x", "--raw-log", "x"], "--html and --raw-log name the same file"),
        (
            ["--find-max", "p99<1s", "--raw-log", "x"],
            "--raw-log has no effect with --find-max: it is for one run",
        ),
        (["--file", "no/such/file"], "--file no/such/file cannot be read: No such file"),
        (["--file", "."], "--file . is no regular file"),
        (["--file", "https://x/words"], "--file is 'https://x/words', a URL"),
        (["--hidden-size", 2**40], "--hidden-size is '1099511627776'; it must be from 1 to 2,147,483,647"),
        (["--hidden-size", 0], "--hidden-size is '0'; it must be from 1"),
        (["--seed", 2**64], "--seed is '18446744073709551616'; it must be from -9,223,372"),
        (["--run-seed", 2**64], "--run-seed is 18,446,744,073,709,551,616; it must be from -9,223,372"),
        (["--processes", 0], "--processes is 0; it must be from 1"),
        (["--streams", 0, "--transport", "stream"], "--streams is 0; it must be from 1"),
        (["--connections", 0], "--connections is 0; it must be from 1"),
        (["--concurrency", 0], "--concurrency is 0; it must be from 1"),
        (["--max-in-flight", 0], "--max-in-flight is 0; it must be from 1"),
        (["--pool", 0], "--pool is 0; it must be from 1"),
        (["--rate", 0], "--rate is 0; it must be above 0"),
        (["--rate", ""], "--rate is ''; write requests per second"),
        (["--find-max", ""], "--find-max is ''; write one such as"),
        *(
            ([option, value], f"{option} is {value}; it must be")
            for option in ("--duration-s", "--timeout-s")
            for value in ("0", "-1", "nan", "inf")
        ),
        *((["--warmup-s", value], f"--warmup-s is {value}; it must be") for value in ("-1", "nan", "inf")),
        (["--calibrate", "--transport", "merged"], "an echo server cannot answer merged calls"),
        (["--rate", "fast"], "write requests per second"),
        (["--words", "0"], "--words is '0'; it must be from 1 to 1,000,000"),
        (["--words", 10**7], "--words is '10000000'; it must be from 1 to 1,000,000"),
        (["--words", "few"], "--words is 'few'; write a number"),
        (["--find-max", "soon"], "write one such as p99<50ms"),
        (
            ["--rate", 5, "--concurrency", 5],
            "--rate has no effect with --concurrency: a closed loop has no rate",
        ),
        (["--find-max", "p99<1s", "--concurrency", 5], "--find-max has no effect with --concurrency"),
        (["--arrivals", "constant", "--concurrency", 5], "--arrivals has no effect with --concurrency"),
        (["--max-in-flight", 9, "--concurrency", 5], "--max-in-flight has no effect with --concurrency"),
        (["--streams", 2], "--streams has no effect with --transport unary"),
        (["--streams", 2, "--transport", "merged"], "--streams has no effect with --transport merged"),
        (["--connections", 2, "--processes", 3], "--connections is 2, but each of 3 --processes needs one"),
        (["--file", __file__, "--raw-log", __file__], "--file and --raw-log name the same file"),
        (["--key", __file__, "--html", __file__], "--key and --html name the same file"),
        (["--vectors", f"x={__file__}", "--raw-log", __file__], "--vectors and --raw-log name the same file"),
        (["--vectors", "x=x.txt"], "start unrolled-server with it, and give --vectors x"),
        (["--hdr-log", "x.hlog"], "it was removed; --json has the encoded histogram"),
        (["--find-max", "p99<1s", "--rate", "1..5"], "--find-max begins at one rate"),
        (["--transport", "pigeon"], "Invalid value for '--transport'"),
    ],
)
def test_a_wrong_command_line_is_exit_code_2_before_the_server_is_called(
    run, arguments, message, monkeypatch
):
    monkeypatch.setenv("UNROLLED_TARGET", "127.0.0.1:1")
    done = run(*arguments)
    assert done.exit_code == 2
    assert message in " ".join(re.sub("[│╭╰─╮╯]", "", done.stderr).split())
    assert done.stdout == ""


@pytest.mark.load
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("is_for_group", [False, True])
def test_a_signal_is_exit_code_130_with_what_was_measured(server_address, tmp_path, number, is_for_group):
    """In a separate process; the signal goes to it alone, or to its group as from a terminal."""
    log = tmp_path / "raw.tsv"
    code = "from unrolled.entry_points import run_load; run_load()"
    arguments = ["--target", server_address, "--duration-s", "60", "--warmup-s", "0.2", "--json"]
    command = [sys.executable, "-c", code, *arguments, "--raw-log", str(log)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while not (log.exists() and log.stat().st_size > 1_000):
        assert process.poll() is None
        time.sleep(0.05)
    send = os.killpg if is_for_group else os.kill
    send(process.pid, number)
    stdout, stderr = process.communicate()
    assert (process.returncode, stderr) == (130, "")
    told = json.loads(stdout)
    assert told["ending"] == "interrupted"
    assert 0 < told["duration_s"] < 60


def test_a_signal_while_files_are_opened_is_exit_code_130(run, monkeypatch):
    def interrupt(*_arguments):
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("unrolled_loadtest.report.outputs.parse_path", interrupt)
    done = run("--html", "x")
    assert (done.exit_code, done.output) == (130, "")


def test_a_missing_load_extra_is_reported_in_one_sentence():
    code = (
        "import sys, importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *more: None if name == 'hdrh' else find(name, *more)\n"
        "from unrolled.entry_points import run_load; run_load()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "pip install 'unrolled[load]'" in done.stderr


def test_the_help_page_fits_80_columns(run):
    text = run("--help").output
    assert max(map(len, text.splitlines())) <= 80
    assert "..." not in text
