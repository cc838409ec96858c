"""Starts and stops the worker processes. They are spawned, because gRPC does not survive a fork."""

import contextlib
import pickle
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import IO, Self

from unrolled_client.errors import UnrolledError

from unrolled_loadtest.generator.protocol import Crashed, Finished, Job, Progress, Ready
from unrolled_loadtest.workload.plan import Plan

_START_DELAY_S = 0.1  # so that all workers know the start before it comes
_EXIT_TIMEOUT_S = 5.0
_SHOWN_STDERR_LINES = 12


class GeneratorError(UnrolledError):
    """A worker process ended early; the message ends with what it wrote. A retry may help."""


class _WorkerProcess:
    """One process, and the thread that reads its messages into `inbox`."""

    def __init__(self, job: Job, inbox: "queue.SimpleQueue[tuple[int, object]]") -> None:
        self._number = job.process
        self._inbox = inbox
        self.stderr = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        # -P keeps files in the working directory out of its imports.
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "unrolled_loadtest.generator.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.stderr,
            start_new_session=True,  # a terminal's signals are for the parent
        )
        self._reader = threading.Thread(target=self._read_messages, daemon=True)
        self._reader.start()
        self.send(job)

    def send(self, message: object) -> None:
        """Sends a message. The reader notices if the process has ended."""
        with contextlib.suppress(BrokenPipeError):
            pickle.dump(message, pipe(self.process.stdin))
            pipe(self.process.stdin).flush()

    def stop(self) -> None:
        """Makes the process stop sending requests and report what it has."""
        with contextlib.suppress(BrokenPipeError):
            pipe(self.process.stdin).close()

    def close(self) -> None:
        """Ends the process, by force if necessary."""
        self.stop()
        try:
            self.process.wait(_EXIT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join()
        pipe(self.process.stdout).close()
        self.stderr.close()

    def failure(self) -> GeneratorError:
        """Returns how the process ended and the end of what it wrote."""
        code = self.process.wait()
        how = f"exit code {code}" if code >= 0 else f"signal {-code}"
        self.stderr.seek(0)
        written = "\n".join(self.stderr.read().splitlines()[-_SHOWN_STDERR_LINES:]) or "nothing"
        return GeneratorError(f"a process of the generator ended with {how}; it wrote: {written}")

    def _read_messages(self) -> None:
        with contextlib.suppress(EOFError, pickle.UnpicklingError):
            while True:
                self._inbox.put((self._number, pickle.load(pipe(self.process.stdout))))  # noqa: S301 - our own
        self._inbox.put((self._number, None))


class ProcessPool:
    """The worker processes of a run; a context manager that ends them."""

    def __init__(self, plan: Plan) -> None:
        self._inbox: queue.SimpleQueue[tuple[int, object]] = queue.SimpleQueue()
        self._workers: list[_WorkerProcess] = []
        self._warmup_s = plan.warmup_s
        try:
            for process in range(plan.process_count):
                self._workers.append(_WorkerProcess(Job(plan=plan, process=process), self._inbox))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def start(self) -> float:
        """Waits until all processes are ready, and starts the load.

        Returns when the measurement begins, on the monotonic clock.

        Raises:
            GeneratorError: A process ended before.
        """
        for _ in self._workers:
            process, message = self._inbox.get()
            if not isinstance(message, Ready):
                raise self._workers[process].failure()
        origin = time.monotonic() + _START_DELAY_S + self._warmup_s
        for worker in self._workers:
            worker.send(origin)
        return origin

    def messages(self) -> Iterator[tuple[int, Progress | Finished | Crashed]]:
        """Yields the number of a process and its message, until all have finished or crashed."""
        working = set(range(len(self._workers)))
        while working:
            process, message = self._inbox.get()
            if isinstance(message, Progress | Finished):
                working -= {process} if isinstance(message, Finished) else set()
                yield process, message
            elif process in working:
                working.discard(process)
                yield process, Crashed(reason=str(self._workers[process].failure()))

    def stop(self) -> None:
        """Makes all processes stop sending requests and report what they have."""
        for worker in self._workers:
            worker.stop()

    def close(self) -> None:
        """Ends all processes."""
        self.stop()
        for worker in self._workers:
            worker.close()


def pipe(end: IO[bytes] | None) -> IO[bytes]:
    """Narrows the type of a process's pipe."""
    assert end is not None  # noqa: S101 - it was opened as a pipe
    return end
