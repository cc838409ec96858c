"""Starts and stops the processes that send.

They are started anew instead of forked, because gRPC does not survive that.
"""

import contextlib
import pickle
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import IO, Self

from unrolled_client.errors import UnrolledError

from unrolled_loadtest.generator.protocol import Done, Job, Lost, Ready, Tick
from unrolled_loadtest.workload.plan import Plan

_START_DELAY_S = 0.1  # so that all hear of it before it begins
_END_TIMEOUT_S = 5.0
_SHOWN_STDERR_LINES = 12


class GeneratorError(UnrolledError):
    """A process that sends ended early; the message ends with what it wrote. A retry may help."""


class _Member:
    """One process, and the thread that hears what it tells."""

    def __init__(self, job: Job, heard: "queue.SimpleQueue[tuple[int, object]]") -> None:
        self.stderr = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        # -P keeps what lies in the working directory out of its imports.
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "unrolled_loadtest.generator.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.stderr,
            start_new_session=True,  # signals to the group are for the process that reports
        )
        self._hearing = threading.Thread(target=self._hear, args=(job.process, heard), daemon=True)
        self._hearing.start()
        self.tell(job)

    def tell(self, message: object) -> None:
        """Sends a message; a process that has ended is noticed elsewhere."""
        with contextlib.suppress(BrokenPipeError):
            pickle.dump(message, pipe(self.process.stdin))
            pipe(self.process.stdin).flush()

    def stop(self) -> None:
        """Has it end at once, and tell what it has."""
        with contextlib.suppress(BrokenPipeError):
            pipe(self.process.stdin).close()

    def close(self) -> None:
        """Ends it, whatever it does."""
        self.stop()
        try:
            self.process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._hearing.join()
        pipe(self.process.stdout).close()
        self.stderr.close()

    def last_words(self) -> str:
        """The end of what it wrote."""
        self.process.wait()
        self.stderr.seek(0)
        return "\n".join(self.stderr.read().splitlines()[-_SHOWN_STDERR_LINES:]) or "nothing"

    def _hear(self, process: int, heard: "queue.SimpleQueue[tuple[int, object]]") -> None:
        with contextlib.suppress(EOFError, pickle.UnpicklingError):
            while True:
                heard.put((process, pickle.load(pipe(self.process.stdout))))  # noqa: S301 - our own process
        heard.put((process, None))


class Crew:
    """As many processes as a plan asks for. Leaving it ends them.

    Args:
        plan: What each gets a share of.
    """

    def __init__(self, plan: Plan) -> None:
        self._heard: queue.SimpleQueue[tuple[int, object]] = queue.SimpleQueue()
        self._members: list[_Member] = []
        try:
            for process in range(plan.process_count):
                self._members.append(_Member(Job(plan=plan, process=process), self._heard))
        except BaseException:
            self.close()
            raise
        self._warmup_s = plan.warmup_s

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def start(self) -> float:
        """Waits until all are ready, starts them, and gives the measurement's begin on the monotonic clock.

        Raises:
            GeneratorError: One ended before.
        """
        for _ in self._members:
            process, message = self._heard.get()
            if not isinstance(message, Ready):
                raise self._ended(process)
        origin = time.monotonic() + _START_DELAY_S + self._warmup_s
        for member in self._members:
            member.tell(origin)
        return origin

    def messages(self) -> Iterator[tuple[int, Tick | Done | Lost]]:
        """Yields what they report, until each is done or lost."""
        working = set(range(len(self._members)))
        while working:
            process, message = self._heard.get()
            if isinstance(message, Tick):
                yield process, message
            elif isinstance(message, Done):
                working.discard(process)
                yield process, message
            elif process in working:
                working.discard(process)
                yield process, Lost(reason=str(self._ended(process)))

    def stop(self) -> None:
        """Has them end at once, and tell what they have."""
        for member in self._members:
            member.stop()

    def close(self) -> None:
        """Ends them."""
        for member in self._members:
            member.stop()
        for member in self._members:
            member.close()

    def _ended(self, process: int) -> GeneratorError:
        member = self._members[process]
        code = member.process.wait()
        how = f"exit code {code}" if code >= 0 else f"signal {-code}"
        return GeneratorError(f"a process of the generator ended with {how}; it wrote: {member.last_words()}")


def pipe(end: IO[bytes] | None) -> IO[bytes]:
    """One end of a pipe to a process."""
    assert end is not None  # noqa: S101 - all of them are pipes
    return end
