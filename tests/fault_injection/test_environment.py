"""Full disks, exhausted file descriptors, wrong settings and clock steps cause clear errors or no effect."""

import ast
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest
import unrolled
import unrolled_client
import unrolled_corpus
import unrolled_loadtest
import unrolled_server

from tests.fault_injection import extent
from tests.fault_injection.server_process import TIMEOUT_S, GoodClient, ServerProcess

COMMAND = (sys.executable, "-m", "unrolled_server", "--address", "127.0.0.1:0", "--device", "cpu")
FULL = "/dev/full"
MAX_FILES = 64
MAX_FILE_BYTES = 8_192
# Share of a processor that a server may use while it waits for file descriptors.
MAX_IDLE_SHARE = 0.1
WALL_CLOCKS = {"time.time", "time.time_ns", "time", "time_ns"}
# These files read the time of day, for the start of a run, span or process or the validity of a certificate;
# never for a duration or a deadline.
MAY_READ_WALL_CLOCK = {
    "backend.py",
    "observability/otel.py",
    "run.py",
    "security/tls.py",
}


def ended(*flags, **options):
    """Returns the exit code and standard error of a server whose start fails."""
    done = subprocess.run(
        [*COMMAND, *flags], capture_output=True, text=True, timeout=TIMEOUT_S, check=False, **options
    )
    return done.returncode, done.stderr


def limited(kind, most):
    """Returns a function with which a child process limits its resources."""
    return partial(resource.setrlimit, kind, (most, most))


@pytest.mark.faults
@pytest.mark.skipif(not Path(FULL).exists(), reason="there is no /dev/full")
def test_a_log_that_cannot_be_written_has_no_effect():
    """Calls are answered, and the drain succeeds."""
    with Path(FULL).open("w") as full, ServerProcess("--log-level", "debug", stderr=full) as server:
        client = GoodClient(server)
        client.ask()
        client.close()
        server.popen.send_signal(signal.SIGTERM)
        assert server.popen.wait(TIMEOUT_S) == 0


@contextmanager
def serving_without_ready_line(stdout, **options):
    """Runs a server whose ready line cannot be written."""
    command = [*COMMAND, "--log-level", "info"]
    with subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, text=True, **options) as server:
        try:
            yield server
        finally:
            server.kill()


@pytest.mark.faults
@pytest.mark.skipif(not Path(FULL).exists(), reason="there is no /dev/full")
def test_a_ready_line_that_cannot_be_written_only_causes_a_log_line():
    with Path(FULL).open("w") as full, serving_without_ready_line(full) as server:
        line = next(line for line in server.stderr if "ready line" in line)
        assert "cannot write the ready line to standard output: No space left on device" in line
        server.send_signal(signal.SIGTERM)
        _, rest = server.communicate(timeout=TIMEOUT_S)
        assert "Traceback" not in rest
        assert server.returncode == 0


@pytest.mark.faults
def test_a_full_disk_at_the_conversion_of_vectors_exits_6_and_leaves_no_half_file(tmp_path):
    glove, cache = tmp_path / "glove.txt", tmp_path / "cache"
    glove.write_text("".join(f"word{at} {at}.5 1 2\n" for at in range(2_000)))
    code, errors = ended(
        "--vectors",
        f"glove={glove}",
        "--vectors-cache",
        str(cache),
        preexec_fn=limited(resource.RLIMIT_FSIZE, MAX_FILE_BYTES),
    )
    assert code == 6
    assert f"{glove} cannot be converted into {cache}: File too large" in errors
    assert "name a directory that can be written and has room by --vectors-cache" in errors
    assert "Traceback" not in errors
    assert [file.suffix for file in cache.iterdir()] == [".lock"]


@pytest.mark.faults
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAX_WORDS", "many"),
        ("MAX_REPLY_BYTES", "1e99"),
        ("DRAIN_TIMEOUT_S", "-1"),
        ("ADDRESS", "nowhere"),
        ("ADDRESS", "\udcff:1"),
        ("LOG_LEVEL", "loud"),
        ("REFLECTION", "maybe"),
        ("VECTORS", "{"),
        ("VECTORS", "glove=/"),
    ],
)
def test_a_setting_that_cannot_be_read_exits_2_in_one_line_that_names_it(name, value):
    environment = os.environ | {f"UNROLLED_{name}": value}
    command = COMMAND[:3]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"unrolled-server: {name.lower()} is ")


@pytest.mark.faults
def test_exhausted_file_descriptors_delay_only_new_clients(report):
    """Open connections are served, no loop spins, and a new client is served once descriptors are free."""
    limit = limited(resource.RLIMIT_NOFILE, MAX_FILES)
    with ServerProcess("--log-level", "warning", preexec_fn=limit) as server, ExitStack() as held:
        old = GoodClient(server)
        for _ in range(2 * MAX_FILES):
            held.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT_S))
        while server.footprint().file_count < MAX_FILES:
            old.ask()
        cpu_s, began_s = server.cpu_s(), time.monotonic()
        waited_s = _wait(extent.seconds(0.2, at_most=10.0))
        cpu_share = (server.cpu_s() - cpu_s) / waited_s
        old.ask()
        held.close()
        new = GoodClient(server)
        new.ask()
        report(
            files=MAX_FILES,
            cpu_share=cpu_share,
            seconds=time.monotonic() - began_s,
            alive=str(server.is_alive),
        )
        for client in (old, new):
            client.close()
        assert "Traceback" not in server.logged()
        if extent.IS_LONG:
            assert cpu_share < MAX_IDLE_SHARE


def _wait(seconds):
    """Waits without sleep; returns the elapsed seconds."""
    began_s = time.monotonic()
    with socket.socket() as never:
        never.bind(("127.0.0.1", 0))
        never.listen()
        never.settimeout(seconds)
        with pytest.raises(TimeoutError):
            never.accept()
    return time.monotonic() - began_s


@pytest.mark.parametrize(
    "package", [unrolled, unrolled_client, unrolled_corpus, unrolled_loadtest, unrolled_server]
)
def test_durations_and_deadlines_never_use_the_wall_clock(package):
    """They use the monotonic clock; `MAY_READ_WALL_CLOCK` lists the files that need the time of day."""
    root = Path(package.__file__).parent
    found = {
        str(file.relative_to(root)) for file in root.rglob("*.py") if _reads_the_wall_clock(file.read_text())
    }
    assert found <= MAY_READ_WALL_CLOCK


def _reads_the_wall_clock(source):
    tree = list(ast.walk(ast.parse(source)))
    called = {ast.unparse(node.func) for node in tree if isinstance(node, ast.Call)}
    imported = {
        alias.name
        for node in tree
        if isinstance(node, ast.ImportFrom) and node.module == "time"
        for alias in node.names
    }
    return any(name in WALL_CLOCKS or name.endswith(".now") for name in called) or bool(
        imported & WALL_CLOCKS
    )
