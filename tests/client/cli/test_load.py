"""`unrolled load`: options reach the plan, the record its reports, and exit codes say what came of it."""

import json
import re
import signal
import subprocess
import sys
import time

import pytest

from tests.client.load.doubles import double_process

SHORT = ("--duration-s", 1, "--warmup-s", 0.2, "--no-live")


@pytest.fixture
def run_json(run):
    """Runs a short load and gives its JSON."""

    def invoke(*arguments, exit_code=0):
        done = run("load", *SHORT, "--json", *arguments)
        assert done.exit_code == exit_code, done.output
        assert done.stdout.count("\n") == 1
        return json.loads(done.stdout)

    return invoke


@pytest.mark.load
def test_a_load_prints_what_it_measured(run):
    done = run("load", *SHORT, "--pool", 20)
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


def test_a_closed_loop_is_asked_for_by_its_callers(run_json):
    told = run_json("--concurrency", 3, "--verify", "off", "--transport", "merged")
    assert not told["is_open"]
    assert told["verification"]["mode"] == "off"


@pytest.mark.load
def test_every_report_is_written(run, tmp_path):
    files = {name: tmp_path / name for name in ("html", "hdr-log", "raw-log")}
    done = run("load", *SHORT, *(text for name, file in files.items() for text in (f"--{name}", file)))
    assert done.exit_code == 0, done.output
    assert "<html" in files["html"].read_text()
    assert files["hdr-log"].read_text().startswith("#")
    assert len(files["raw-log"].read_text().splitlines()) == 121


@pytest.mark.load
def test_a_calibrated_run_tells_the_generators_ceiling(run_json):
    told = run_json("--calibrate")
    assert told["generator"]["ceiling_per_s"] > 100


@pytest.mark.load
def test_a_search_tells_its_trials(run_json):
    told = run_json("--find-max", "p99<5s,errors<1%", "--rate", 2_000, "--max-in-flight", 20_000)
    assert len(told["search"]["trials"]) >= 2
    assert told["search"]["found_per_s"] > 100


@pytest.mark.load
def test_a_target_that_is_never_met_is_exit_code_3(run_json):
    told = run_json("--find-max", "p50<1us", "--rate", 2, exit_code=3)
    assert told["search"]["found_per_s"] is None


@pytest.mark.load
@pytest.mark.parametrize("more", [("--rate", 200), ("--find-max", "p50<1us", "--rate", 5)])
def test_a_wrong_bit_is_exit_code_2_and_shows_the_request(run_json, more):
    """Also where no rate meets a target."""
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
        (["--target", "127.0.0.1:1"], "127.0.0.1:1 is unavailable"),
        (["--raw-log", "no/such/dir/x"], "no/such/dir/x"),
        (["--file", "no/such/file"], "no/such/file"),
        (["--hidden-size", 2**40], "hidden_size is 1099511627776"),
        (["--processes", 0], "process_count is 0"),
        (["--calibrate", "--transport", "merged"], "an echo cannot answer merged calls"),
    ],
)
def test_a_failure_is_one_line_and_exit_code_1(run, arguments, message):
    done = run("load", *SHORT, *arguments)
    assert done.exit_code == 1
    assert done.stderr.startswith("unrolled: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rate", "fast"], "write requests per second"),
        (["--words", "0"], "--words is '0'; it must be 1 or more"),
        (["--words", "few"], "--words is 'few'; write a number"),
        (["--find-max", "soon"], "write one such as p99<50ms"),
        (["--rate", 5, "--concurrency", 5], "--concurrency has no rate"),
        (["--find-max", "p99<1s", "--concurrency", 5], "--concurrency has no rate"),
        (["--find-max", "p99<1s", "--rate", "1..5"], "--find-max begins at one rate"),
        (["--transport", "pigeon"], "Invalid value for '--transport'"),
    ],
)
def test_a_wrong_command_line_is_exit_code_2(run, arguments, message):
    done = run("load", *arguments)
    assert done.exit_code == 2
    assert message in " ".join(re.sub("[│╭╰─╮╯]", "", done.stderr).split())
    assert done.stdout == ""


@pytest.mark.load
def test_ctrl_c_is_exit_code_130_with_what_was_measured(server_address, tmp_path):
    """As a process of its own, which is told when requests are under way."""
    log = tmp_path / "raw.tsv"
    code = "from unrolled_client.cli import main; main()"
    arguments = ["load", "--target", server_address, "--duration-s", "60", "--warmup-s", "0.2", "--json"]
    command = [sys.executable, "-c", code, *arguments, "--raw-log", str(log)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (log.exists() and log.stat().st_size > 1_000) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stderr) == (130, "")
    told = json.loads(stdout)
    assert told["ending"] == "interrupted"
    assert 0 < told["duration_s"] < 60


def test_a_missing_load_extra_is_one_sentence():
    code = (
        "import sys, importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *more: None if name == 'hdrh' else find(name, *more)\n"
        "from unrolled_client.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code, "load"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "pip install 'unrolled[load]'" in done.stderr


def test_its_help_fits_80_columns(run):
    text = run("load", "--help").output
    assert max(map(len, text.splitlines())) <= 80
    assert "..." not in text
