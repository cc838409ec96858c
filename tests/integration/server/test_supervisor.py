"""The supervisor with scripts as workers, which behave in different ways."""

import asyncio
import errno
import os
import re
import signal
import sys

import psutil
import pytest
from unrolled_server.process import supervision_policy, supervisor, worker_process
from unrolled_server.process.supervision_policy import ReadinessGate, WorkersError
from unrolled_server.process.supervisor import Supervisor
from unrolled_server.process.worker_process import WorkerProcess
from unrolled_server.settings import Settings

# A worker's part in the conversation.
SCRIPT = """
import json, os, sys
def tell(kind, **fields):
    print(json.dumps(dict(kind=kind, **fields)), flush=True)
settings = json.loads(sys.stdin.readline())
"""
VERIFY = "tell('Verified', fingerprint='f', ready_line='ready on ' + settings['address'])\n"
SERVE = "assert sys.stdin.readline() == 'go\\n'\ntell('Serving')\n"
AT_SIGTERM = "import signal\nsignal.signal(signal.SIGTERM, lambda *_: os._exit({exit_code}))\n"
WAIT = "sys.stdin.read()\n"


async def run_supervisor(settings, environment):
    supervisor = Supervisor(settings)
    supervisor.environment.update(environment)
    await supervisor.run()


@pytest.fixture
def run(monkeypatch):
    """A function that runs a supervisor of two workers that execute a script."""
    monkeypatch.setattr(supervision_policy, "RESTART_DELAY_S", 0.0)

    def run_script(script, *, environment=None):
        monkeypatch.setattr(worker_process, "_COMMAND", (sys.executable, "-c", SCRIPT + script))
        settings = Settings(workers=2, address="127.0.0.1:1", drain_timeout_s=0)
        asyncio.run(run_supervisor(settings, environment or {}))

    return run_script


@pytest.fixture
def when_ready(monkeypatch):
    """A function that sets an action to run as soon as the supervisor is ready."""

    def arrange(action):
        add_serving = ReadinessGate.add_serving

        def add_and_act(gate, pid):
            is_ready = add_serving(gate, pid)
            if is_ready:
                action()
            return is_ready

        monkeypatch.setattr(ReadinessGate, "add_serving", add_and_act)

    return arrange


@pytest.fixture
def stop_when_ready(when_ready):
    """Stops the supervisor as soon as it is ready."""
    when_ready(lambda: os.kill(os.getpid(), signal.SIGTERM))


OTHERS = set()


@pytest.fixture(autouse=True)
def _others():
    """Records other children of this process, such as a cluster that lasts for the whole test run."""
    OTHERS.clear()
    OTHERS.update(psutil.Process().children())


def workers():
    return [child for child in psutil.Process().children() if child not in OTHERS]


def kill_workers(count=None):
    for worker in workers()[:count]:
        worker.kill()


def refusal(run, *args, **kwargs):
    with pytest.raises(WorkersError) as caught:
        run(*args, **kwargs)
    return caught.value.exit_code, str(caught.value)


def test_different_bits_exit_5_and_no_worker_serves(run, tmp_path):
    served = tmp_path / "served"
    verify = "tell('Verified', fingerprint=str(os.getpid()), ready_line='')\n"
    script = verify + SERVE + f"open({str(served)!r}, 'w').close()"
    code, message = refusal(run, script)
    assert code == 5
    assert message.startswith("workers compute different bits: fingerprint")
    assert not served.exists()


def test_a_replacement_with_different_bits_exits_8_because_a_restart_helps(run, when_ready, tmp_path):
    """For example after an upgrade of a package under a running server."""
    when_ready(lambda: ((tmp_path / "ready").touch(), kill_workers(1)))
    fingerprint = f"'new' if os.path.exists({str(tmp_path / 'ready')!r}) else 'old'"
    verify = f"tell('Verified', fingerprint={fingerprint}, ready_line='')\n"
    code, message = refusal(run, verify + SERVE + WAIT)
    assert code == 8
    assert message.startswith("workers compute different bits: fingerprint new beside old")


def test_an_error_of_the_first_start_is_raised(run):
    script = "tell('Failed', exit_code=6, message='bad.txt, line 2')"
    assert refusal(run, script) == (6, "bad.txt, line 2")


def test_workers_that_die_before_they_serve_exit_8(run, caplog):
    code, message = refusal(run, "os.kill(os.getpid(), 9)")
    assert (code, message) == (
        8,
        "5 workers died one after another before they served; the log above says how",
    )
    assert 5 <= caplog.text.count("was ended by SIGKILL") <= 6


def test_a_failing_replacement_is_retried_and_then_exits_8(run, when_ready, capfd, caplog, tmp_path):
    """The server stays during the retries, so that others answer what they have accepted."""
    when_ready(lambda: ((tmp_path / "ready").touch(), kill_workers()))
    fail = "sys.exit(tell('Failed', exit_code=6, message='gone'))"
    later = f"if os.path.exists({str(tmp_path / 'ready')!r}): {fail}\n"
    code, _ = refusal(run, later + VERIFY + SERVE + WAIT)
    assert code == 8
    assert capfd.readouterr().out == "ready on 127.0.0.1:1 | 2 workers\n"
    assert "cannot serve: gone" in caplog.text
    assert "was ended by SIGKILL" in caplog.text


def test_a_worker_that_cannot_be_replaced_leaves_the_others_serving(
    run, when_ready, monkeypatch, caplog, tmp_path
):
    """The tenth replacement stops the server, with success: the other worker served all the time."""
    monkeypatch.setattr(supervision_policy, "MAX_DELAY_S", 0.0)
    monkeypatch.setattr(supervisor, "MAX_DELAY_S", 0.0)
    when_ready(lambda: ((tmp_path / "ready").touch(), kill_workers(1)))
    later = f"""
if os.path.exists({str(tmp_path / "ready")!r}):
    with open({str(tmp_path / "tries")!r}, "a") as tries:
        tries.write(".")
        if tries.tell() == 10:
            os.kill(os.getppid(), 15)
    sys.exit(tell("Failed", exit_code=6, message="gone"))
"""
    run(later + VERIFY + AT_SIGTERM.format(exit_code=0) + SERVE + WAIT)
    assert re.search(r"ERROR .*worker \d+ cannot serve: gone", caplog.text)
    assert re.search(r"ERROR .*no worker can be replaced, the others serve on", caplog.text)


@pytest.mark.usefixtures("stop_when_ready")
def test_the_start_of_a_process_is_retried(run, monkeypatch, caplog):
    start = WorkerProcess.start
    errors = [OSError(errno.EAGAIN, "too many processes"), OSError(errno.ENOMEM, "no memory")]

    async def start_at_last(*args, **kwargs):
        if errors:
            raise errors.pop()
        return await start(*args, **kwargs)

    monkeypatch.setattr(WorkerProcess, "start", start_at_last)
    run(VERIFY + AT_SIGTERM.format(exit_code=0) + SERVE + WAIT)
    assert "no process can be started: too many processes" in caplog.text
    assert "no process can be started: no memory" in caplog.text


@pytest.mark.parametrize("line", ["{}", "[]", "1", "no JSON", '{"kind": "Serving", "of": 2}', "-" * 70_000])
def test_a_worker_that_sends_malformed_reports_is_replaced_like_a_dead_one(run, caplog, line):
    code, _ = refusal(run, f"print({line!r}, flush=True)\n" + WAIT)
    assert code == 8
    assert "sent a malformed report" in caplog.text
    assert "was ended by SIGKILL" in caplog.text


def test_an_unexpected_error_is_raised_after_the_worker_has_ended(run, monkeypatch):
    async def read_report(_worker):
        raise RuntimeError("unexpected")

    monkeypatch.setattr(WorkerProcess, "read_report", read_report)
    with pytest.raises(RuntimeError, match="unexpected"):
        run(WAIT)
    assert workers() == []


def test_workers_get_the_environment_variables_of_the_supervisor(run):
    script = "tell('Failed', exit_code=6, message=os.environ['OF_THE_RUN'])"
    assert refusal(run, script, environment={"OF_THE_RUN": "here"}) == (6, "here")


@pytest.mark.usefixtures("stop_when_ready")
def test_workers_that_exit_0_end_the_supervisor_with_success(run):
    run(VERIFY + AT_SIGTERM.format(exit_code=0) + SERVE + WAIT)


@pytest.mark.usefixtures("stop_when_ready")
def test_workers_that_die_while_they_drain_exit_1(run):
    code, message = refusal(run, VERIFY + AT_SIGTERM.format(exit_code=3) + SERVE + WAIT)
    assert code == 1
    assert message.startswith("2 workers died while they drained")


@pytest.mark.usefixtures("stop_when_ready")
def test_workers_that_do_not_end_are_killed_after_the_timeout(run, monkeypatch):
    monkeypatch.setattr(supervisor, "END_MARGIN_S", 0.1)
    ignoring = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    code, _ = refusal(run, VERIFY + ignoring + SERVE + "while True: sys.stdin.read()")
    assert code == 1
