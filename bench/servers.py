"""Starts servers as processes."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path


@contextmanager
def child(*arguments: str) -> Iterator[str]:
    """Yields the first line of Python with these arguments, which ends with the block."""
    with subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().strip() if process.stdout else ""
        finally:
            process.terminate()


@contextmanager
def server_process(address: str, *more_flags: str) -> Iterator[str]:
    """Yields the address in the ready line of our server."""
    flags = ("--address", address, "--device", "cpu", "--log-level", "warning", *more_flags)
    with child("-m", "unrolled_server", *flags) as ready:
        yield ready.removeprefix("unrolled-server ready on ").split(" | ")[0]


def plain_server() -> AbstractContextManager[str]:
    """Yields the address of the server to compare with."""
    return child(str(Path(__file__).with_name("plain_server.py")))
