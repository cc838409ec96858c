"""Starts servers as processes."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def server_process(address: str, *more_flags: str) -> Iterator[str]:
    """Yields the address in the ready line of a server, which ends with the block."""
    flags = ["--address", address, "--device", "cpu", "--log-level", "warning", *more_flags]
    command = [sys.executable, "-m", "unrolled_server", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            ready = process.stdout.readline().strip() if process.stdout else ""
            yield ready.removeprefix("unrolled-server ready on ").split(" | ")[0]
        finally:
            process.terminate()
