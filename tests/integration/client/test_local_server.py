"""The server of one's own: it starts, it ends, and it says why if it does not."""

import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from unrolled_client import (
    AsyncClient,
    Client,
    InvalidRequestError,
    LocalServerError,
    ServerExtraMissingError,
)
from unrolled_client.local_server import LocalServer, _command

TIMEOUT_S = 120
OWNER = """
import sys
from unrolled_client.local_server import LocalServer
print(LocalServer(start_timeout_s=120).pid, flush=True)
sys.stdin.read()
"""
FORKING_OWNER = """
import os, sys
from unrolled_client import Client
client = Client.local()
if os.fork() == 0:
    client._local_server.close()
    sys.exit()
os.wait()
print(client.server_info().device)
"""


def ends(pid):
    """Returns whether a process ends. It may stay a zombie where no init process reaps orphans."""
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


@pytest.fixture
def short_directory():
    """A directory whose path leaves room for a socket's name, unlike tmp_path's."""
    with tempfile.TemporaryDirectory() as directory:
        yield directory


@pytest.fixture
def owner(short_directory):
    """A function that runs code in a separate process, whose local servers use short_directory."""
    environment = {**os.environ, "TMPDIR": short_directory}

    def start(code):
        command = [sys.executable, "-c", code]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)

    return start


def test_it_serves_and_ends_with_its_client():
    """The server takes its settings, lives in a directory of the user's own, and leaves nothing."""
    with Client.local(max_words=2, reflection=False, device="cpu") as client:
        server = client._local_server
        socket = Path(server.target.removeprefix("unix:"))
        assert client.server_info().limits.max_words == 2
        assert socket.parent.stat().st_mode & 0o777 == 0o700
        assert psutil.pid_exists(server.pid)
    assert not psutil.pid_exists(server.pid)
    assert not socket.parent.exists()
    client.close()


@pytest.mark.parametrize(
    ("setting", "flags"),
    [
        ({"max_words": 2}, ["--max-words=2"]),
        ({"max_words": None}, []),
        ({"reflection": False}, ["--no-reflection"]),
        ({"reflection": np.bool_(True)}, ["--reflection"]),
        ({"vectors": "glove=glove.txt"}, ["--vectors=glove=glove.txt"]),
        ({"vectors": ["a=1.txt", "b=2.vec"]}, ["--vectors=a=1.txt", "--vectors=b=2.vec"]),
        ({"vectors": {"a": Path("1.txt"), "b": "2.vec"}}, ["--vectors=a=1.txt", "--vectors=b=2.vec"]),
        ({"vectors": ()}, []),
    ],
)
def test_settings_become_flags(setting, flags):
    """Several values of one setting repeat its flag; a dict's items are NAME=VALUE."""
    command = _command("unix:x", setting)
    assert command[command.index("--exit-with-stdin") + 1 :] == flags


@pytest.mark.long
def test_it_ends_when_its_owner_is_forgotten():
    """A server without references is stopped."""
    server = LocalServer(start_timeout_s=TIMEOUT_S)
    pid = server.pid
    del server
    assert ends(pid)


@pytest.mark.long
def test_it_ends_with_its_owners_process(owner, short_directory):
    """A server that was not closed ends when its owner does, and leaves nothing."""
    with owner(OWNER) as process:
        pid = int(process.stdout.readline())
    assert ends(pid)
    assert list(Path(short_directory).iterdir()) == []


def test_it_ends_when_its_owner_is_killed(owner):
    """The server ends by itself when its owner had no chance to end it."""
    with owner(OWNER) as process:
        pid = int(process.stdout.readline())
        process.kill()
    assert ends(pid)


@pytest.mark.long
def test_a_forked_child_does_not_end_its_parents_server(owner):
    """A child's close and exit leave the server to the process that started it."""
    with owner(FORKING_OWNER) as process:
        assert process.stdout.read().strip()
    assert process.returncode == 0


@pytest.mark.long
def test_ctrl_c_is_not_the_servers():
    """The server is in a session of its own, so that a terminal's Ctrl-C reaches the caller only."""
    with Client.local() as client:
        assert os.getsid(client._local_server.pid) != os.getsid(0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_wordz": 5}, "exit code 2(.|\n)*max-wordz"),
        ({"max_words": 0}, "exit code 2(.|\n)*max_words is '0'"),
    ],
)
def test_a_server_that_does_not_start_says_why(settings, message):
    """The error has the exit code and what the server wrote."""
    with pytest.raises(LocalServerError, match=message):
        Client.local(**settings)


def test_a_server_that_is_not_ready_in_time_is_ended(monkeypatch, short_directory):
    """A start beyond the timeout is an error, and leaves neither process nor file."""
    monkeypatch.setattr(tempfile, "tempdir", short_directory)
    before = set(psutil.Process().children())
    with pytest.raises(LocalServerError, match=r"not ready within 0\.01 s"):
        Client.local(start_timeout_s=0.01)
    assert set(psutil.Process().children()) <= before
    assert list(Path(short_directory).iterdir()) == []


def test_missing_packages_are_named_with_their_remedy(monkeypatch):
    """Without torch the error is one sentence with the command that installs it."""
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "torch" else find_spec(name)
    )
    with pytest.raises(ServerExtraMissingError, match=r"\(torch\): pip install 'unrolled\[server\]'"):
        Client.local()


@pytest.mark.long
def test_a_long_temporary_directory_does_not_matter(monkeypatch, tmp_path):
    """Where a socket's path would be too long for the system, a short one is found."""
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with Client.local() as client:
        assert client.server_info().device


@pytest.mark.long
def test_a_server_that_hangs_is_killed(monkeypatch):
    """Close ends a server that does not react."""
    monkeypatch.setattr("unrolled_client.local_server._STOP_TIMEOUT_S", 0.1)
    with Client.local() as client:
        pid = client._local_server.pid
        os.kill(pid, signal.SIGSTOP)
    assert not psutil.pid_exists(pid)


@pytest.mark.long
def test_what_a_service_is_told_by_its_environment_is_not_for_a_private_server(monkeypatch):
    """Beside a server with TLS and tokens, a local one starts and wants neither."""
    for name in ("TOKENS", "TLS_CERTIFICATE", "TLS_KEY", "TLS_CLIENT_CA"):
        monkeypatch.setenv(f"UNROLLED_{name}", "/no/such/file")
    with Client.local() as client:
        assert client.server_info().version


@pytest.mark.parametrize("client_class", [Client, AsyncClient])
def test_the_clients_arguments_are_judged_before_a_server_starts(monkeypatch, client_class):
    """It takes seconds to start, and would be left behind."""
    monkeypatch.setattr(
        "unrolled_client.local_server._start", lambda *_, **__: pytest.fail("a server was started")
    )
    for wrong in ({"timeout_s": "5"}, {"options": 3}):
        with pytest.raises(TypeError, match=f"{next(iter(wrong))} is "):
            client_class.local(**wrong)


def test_its_address_is_no_setting():
    with pytest.raises(TypeError, match=r"local\(\) makes the server's address itself"):
        Client.local(address="localhost:1")


@pytest.mark.parametrize(("value", "error"), [("5", TypeError), (True, TypeError), (0, InvalidRequestError)])
def test_its_start_timeout_is_a_number_above_0(value, error):
    with pytest.raises(error, match="start_timeout_s is"):
        Client.local(start_timeout_s=value)
