"""One worker, as its supervisor sees it: a process to tell things, and what it reports."""

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from typing import Self

from unrolled_server.process.worker_protocol import GO, Report, decode, encode_settings
from unrolled_server.settings.model import Settings

# -P keeps what lies in the working directory out of its imports.
_COMMAND = (sys.executable, "-P", "-m", "unrolled_server.process.worker")


class WorkerProcess:
    """A started worker. It goes on until it is told to stop, dies, or its supervisor does."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._may_serve = False
        self._end = asyncio.ensure_future(process.wait())
        self.pid = process.pid

    @classmethod
    async def start(cls, settings: Settings, *, environment: Mapping[str, str]) -> Self:
        """A worker that prepares itself.

        Args:
            settings: The worker's own.
            environment: Variables beside those of this process.
        """
        process = await asyncio.create_subprocess_exec(
            *_COMMAND,
            stdin=PIPE,
            stdout=PIPE,
            env={**os.environ, **environment},
            start_new_session=True,  # Ctrl-C at a prompt is for the supervisor, who drains the workers
        )
        worker = cls(process)
        worker._write(encode_settings(settings))
        return worker

    async def report(self) -> Report | None:
        """What the worker tells next; None when it has ended."""
        assert self._process.stdout is not None  # noqa: S101 - it was asked for
        line = await self._process.stdout.readline()
        return decode(line) if line.endswith(b"\n") else None

    def go(self) -> None:
        """Lets the worker serve."""
        self._may_serve = True
        self._write(GO)

    def stop(self) -> None:
        """Has the worker finish what it accepted, and end."""
        self._signal(signal.SIGTERM if self._may_serve else signal.SIGKILL)

    def kill(self) -> None:
        """Ends the worker at once."""
        self._signal(signal.SIGKILL)

    async def ended(self) -> int:
        """Waits for the worker's end; gives its exit code, or minus the signal that ended it."""
        return await asyncio.shield(self._end)

    def _write(self, line: bytes) -> None:
        assert self._process.stdin is not None  # noqa: S101 - it was asked for
        self._process.stdin.write(line)

    def _signal(self, number: signal.Signals) -> None:
        # Not the process's own method, which may collect its exit code before asyncio does.
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)
