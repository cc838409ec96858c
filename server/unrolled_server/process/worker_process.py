"""A worker process as its supervisor sees it."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from typing import Self

from unrolled_server.process.worker_protocol import GO, Report, decode, encode_settings
from unrolled_server.settings import Settings

LOG = logging.getLogger(__name__)

# -P keeps modules of the working directory out of its imports.
_COMMAND = (sys.executable, "-P", "-m", "unrolled_server.process.worker")


class WorkerProcess:
    """A started worker. It ends when it is stopped, dies, or its supervisor does."""

    def __init__(self, process: Process) -> None:
        assert process.stdin  # noqa: S101 - it is a PIPE
        assert process.stdout  # noqa: S101
        self._process, self._stdin, self._stdout = process, process.stdin, process.stdout
        self._may_serve = False
        self.pid = process.pid

    @classmethod
    async def start(cls, settings: Settings, *, environment: Mapping[str, str]) -> Self:
        """Starts a worker with its own settings, and with variables beside those of this process.

        Not by multiprocessing: its resource tracker would be one process more, of 12 MiB, for the life of the
        server, and Ctrl-C would reach a worker until it leaves the session.
        """
        process = await asyncio.create_subprocess_exec(
            *_COMMAND,
            stdin=PIPE,
            stdout=PIPE,
            env={**os.environ, **environment},
            start_new_session=True,  # Ctrl-C is for the supervisor, which then drains the workers
        )
        worker = cls(process)
        worker._stdin.write(encode_settings(settings))
        return worker

    async def read_report(self) -> Report | None:
        """Returns the worker's next report; None when it has ended.

        Ends a worker that sends anything else, such as one of another version.
        """
        try:
            line = await self._stdout.readline()
            return decode(line) if line.endswith(b"\n") else None
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            LOG.error("worker %d sent a malformed report: %r", self.pid, error)  # noqa: TRY400 - no bug here
            self.kill()
            return None

    def go(self) -> None:
        """Lets the worker serve."""
        self._may_serve = True
        self._stdin.write(GO)

    def stop(self) -> None:
        """Makes the worker finish accepted calls and end."""
        self._send(signal.SIGTERM if self._may_serve else signal.SIGKILL)

    def kill(self) -> None:
        self._send(signal.SIGKILL)

    async def wait(self) -> int:
        """Waits for the worker's end; returns its exit code, or minus the signal that ended it."""
        return await self._process.wait()

    def _send(self, number: signal.Signals) -> None:
        # Not by the process's own method, which may collect the exit code before asyncio does.
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)
