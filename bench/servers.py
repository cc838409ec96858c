"""Context managers that start servers in separate processes and stop them at the end."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ECHO_SERVER = Path(__file__).with_name("echo_server.py")


@contextmanager
def server_process(address: str, *more_flags: str) -> Iterator[str]:
    """Starts a server; yields the address of its ready line."""
    flags = ["--address", address, "--device", "cpu", "--log-level", "warning", *more_flags]
    with _announced([sys.executable, "-m", "unrolled_server", *flags]) as ready:
        yield ready.removeprefix("unrolled-server ready on ").split(" | ")[0]


@contextmanager
def echo_process(reply: bytes) -> Iterator[str]:
    """Starts a server that answers everything with these bytes; yields its address."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(reply)
        file.flush()
        with _announced([sys.executable, str(ECHO_SERVER), file.name]) as address:
            yield address


@contextmanager
def _announced(command: Sequence[str]) -> Iterator[str]:
    """Starts a process; yields the first line that it writes."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().strip() if process.stdout else ""
        finally:
            process.terminate()
