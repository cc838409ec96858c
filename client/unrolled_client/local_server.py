"""A private server: a child process on a private Unix socket, which ends with its owner.

The client runs the server by its command only, and checks for missing packages itself, so that the error is
one sentence instead of a child's traceback.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from unrolled_client._messages.arguments import as_timeout_s
from unrolled_client._transport.target import check_target
from unrolled_client.errors import InvalidRequestError, LocalServerError, ServerExtraMissingError

_READY = "unrolled-server ready"
_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 10.0
_SHOWN_STDERR_LINES = 12
# Settings of a public service on the same machine, which are not for a private server.
_NOT_INHERITED = frozenset(
    {
        "NOTIFY_SOCKET",  # systemd would take its messages for the owner's
        "UNROLLED_METRICS_ADDRESS",
        "UNROLLED_TLS_CERTIFICATE",
        "UNROLLED_TLS_CLIENT_CA",
        "UNROLLED_TLS_KEY",
        "UNROLLED_TOKENS",
        "UNROLLED_WORKERS",
    }
)
_PREFIX, _SOCKET = "unrolled-", "server.sock"


class LocalServer:
    """A server in a child process.

    It ends with `close`, when this object is collected, when this process exits, and when this process is
    killed: its standard input is a pipe from this process, and it stops at the end of it.
    """

    def __init__(self, *, start_timeout_s: float | None, **settings: object) -> None:
        """Starts the server and waits until it is ready; see `Client.local`.

        `start_timeout_s` is 60 for None. The settings have the names of the server's flags; a list, or a dict
        for NAME=VALUE, repeats the flag; None is the default.
        """
        start_timeout_s = _START_TIMEOUT_S if start_timeout_s is None else start_timeout_s
        limit_s = as_timeout_s("start_timeout_s", start_timeout_s)
        if "address" in settings:
            message = "local() makes the server's address itself; start unrolled-server for another one"
            raise TypeError(message)
        from unrolled.entry_points import describe_missing  # noqa: PLC0415 - it loads importlib.metadata

        if missing := describe_missing("server"):
            raise ServerExtraMissingError(f"a local server {missing}")
        with contextlib.ExitStack() as stack:
            directory = _make_private_directory()
            stack.callback(shutil.rmtree, directory, ignore_errors=True)
            self.target = f"unix:{directory / _SOCKET}"
            stderr = directory / "stderr.txt"
            process = _start(_command(self.target, settings), stderr=stderr)
            stack.callback(_stop, process)
            self.pid = process.pid
            _wait_until_ready(process, limit_s=limit_s, stderr=stderr)
            self._end = weakref.finalize(self, _end_in, os.getpid(), stack.pop_all())

    def close(self) -> None:
        """Stops the server and removes its socket; a second call does nothing."""
        self._end()


def _make_private_directory() -> Path:
    """Returns a new private directory whose path is short enough for a socket."""
    parent = tempfile.gettempdir()
    try:
        check_target(f"unix:{parent}/{_PREFIX}12345678/{_SOCKET}", name="TMPDIR")
    except InvalidRequestError:
        parent = "/tmp"  # noqa: S108 - mkdtemp makes it private
    return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))


def _command(target: str, settings: dict[str, object]) -> list[str]:
    """Returns the server's command line; -P keeps the working directory out of its imports."""
    command = [sys.executable, "-P", "-m", "unrolled_server", "--address", target, "--exit-with-stdin"]
    for name, value in settings.items():
        command += _flags(f"--{name.replace('_', '-')}", value)
    return command


def _flags(flag: str, value: object) -> list[str]:
    """Returns a setting as flags: a list repeats the flag, a mapping's items become NAME=VALUE."""
    if value is None:
        return []
    if isinstance(value, bool | np.bool_):
        return [flag if value else flag.replace("--", "--no-", 1)]
    if isinstance(value, Mapping):
        value = [f"{key}={item}" for key, item in value.items()]
    values = value if isinstance(value, list | tuple) else [value]
    return [f"{flag}={item}" for item in values]


def _start(command: list[str], *, stderr: Path) -> subprocess.Popen[str]:
    with stderr.open("w") as file:
        return subprocess.Popen(  # noqa: S603 - our own module, arguments as a list
            command,
            env={name: value for name, value in os.environ.items() if name not in _NOT_INHERITED},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            start_new_session=True,  # Ctrl-C at a prompt is for the call, not for the server
        )


def _stop(process: subprocess.Popen[str]) -> None:
    with process:  # closes its pipes and collects it
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()


def _wait_until_ready(process: subprocess.Popen[str], *, limit_s: float, stderr: Path) -> None:
    is_late = threading.Event()

    def give_up() -> None:
        is_late.set()
        process.kill()

    timer = threading.Timer(min(limit_s, threading.TIMEOUT_MAX), give_up)
    timer.start()
    try:
        is_ready = any(line.startswith(_READY) for line in process.stdout or ())  # ends when the process does
    finally:
        timer.cancel()
    if not is_ready:
        ended = f"ended with exit code {process.wait()}"
        why = f"was not ready within {limit_s:g} s" if is_late.is_set() else ended
        lines = stderr.read_text(errors="replace").splitlines()[-_SHOWN_STDERR_LINES:]
        written = "\n".join(lines) or "nothing"
        raise LocalServerError(f"the local server {why}; it wrote: {written}")


def _end_in(pid: int, stack: contextlib.ExitStack) -> None:
    """Stops the server, unless a forked child of its owner exits."""
    if os.getpid() == pid:
        stack.close()
