"""Several workers on one port: all ready at once, replaced when they die, drained together.

It computes nothing and answers no calls, so it imports neither torch nor gRPC, and has little to die of.
"""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from unrolled_server.exit_codes import (
    EXIT_PROOF,
    EXIT_UNFINISHED,
    EXIT_WORKERS,
    StartupError,
    exit_code_of_signal,
)
from unrolled_server.observability import metrics
from unrolled_server.observability.metrics import Reading
from unrolled_server.observability.multiprocess import DIRECTORY_VARIABLE
from unrolled_server.observability.prometheus import serve_metrics
from unrolled_server.process.ready_notification import announce
from unrolled_server.process.restarts import MAX_UNSERVED_COUNT, Restarts
from unrolled_server.process.shutdown_signals import end_at_once, told_to_stop
from unrolled_server.process.supervision_policy import DifferentBitsError, Muster
from unrolled_server.process.worker_process import WorkerProcess
from unrolled_server.process.worker_protocol import Failed, Proved, Report, Serving
from unrolled_server.settings.model import Settings
from unrolled_server.transport.address import describe_protection, require_tls_or_loopback, reserve_port

LOG = logging.getLogger(__name__)

# What a worker gets beyond the drain timeout, for the end of its last batch.
END_MARGIN_S = 5.0


class WorkersError(StartupError):
    """The workers cannot go on, or did not end well."""

    exit_code = EXIT_WORKERS


async def supervise(settings: Settings) -> None:
    """Serves with `settings.workers` processes until told to stop; then drains them.

    Raises:
        AddressError: The address is taken, malformed, not of this machine, or open to others in clear text.
        WorkersError: They can't start, keep dying, or one of them died while it drained; or a signal came
            before they were ready.
    """
    require_tls_or_loopback(settings)
    with contextlib.ExitStack() as stack:
        address = stack.enter_context(reserve_port(settings.address))
        share = settings.share().model_copy(update={"address": address})
        supervisor = Supervisor(share)
        if settings.metrics_address:
            directory = Path(stack.enter_context(TemporaryDirectory(prefix="unrolled-metrics-")))
            supervisor.environment[DIRECTORY_VARIABLE] = str(directory)
            stack.enter_context(
                contextlib.closing(
                    serve_metrics(settings.metrics_address, directory, reading=supervisor.reading)
                )
            )
        await supervisor.run()


class Supervisor:
    """Keeps `settings.workers` workers.

    Args:
        settings: Each worker's own.

    Attributes:
        environment: Variables that each worker gets, beside those of this process.
    """

    def __init__(self, settings: Settings) -> None:
        self.environment: dict[str, str] = {}
        self._settings = settings
        self._workers: dict[int, WorkerProcess] = {}
        self._muster = Muster(settings.workers)
        self._restarts = Restarts()
        self._stopping = asyncio.Event()
        self._failures: dict[int, str] = {}
        self._last_end = ""
        self._restart_count = 0
        self._unfinished_count = 0

    def reading(self) -> Reading:
        """What the workers' metrics can't say; may be called from any thread."""
        return {
            metrics.WORKERS: {(): self._settings.workers},
            metrics.READY_WORKERS: {(): 0},  # and the living add themselves: 0 without them, not absent
            metrics.WORKER_RESTARTS: {(): self._restart_count},
        }

    async def run(self) -> None:
        """Starts the workers, says when they are ready, keeps them until told to stop, then drains them.

        Raises:
            WorkersError: As `supervise`.
        """
        told = asyncio.create_task(
            told_to_stop(watch_stdin=self._settings.exit_with_stdin, end=self._end_at_once)
        )
        keepers = [asyncio.create_task(self._keep_one()) for _ in range(self._settings.workers)]
        await asyncio.wait([told, *keepers], return_when=asyncio.FIRST_COMPLETED)
        was_ready = self._muster.is_ready
        await self._drain(keepers)
        await asyncio.gather(*keepers)  # raises what one of them found
        _judge(number=told.result(), was_ready=was_ready, unfinished_count=self._unfinished_count)

    async def _keep_one(self) -> None:
        """One worker after another, until told to stop."""
        while not self._stopping.is_set():
            served_s = await self._run_one()
            if not self._stopping.is_set():
                await self._wait_before_the_next(served_s)

    async def _run_one(self) -> float | None:
        """A worker from its start to its end; gives how long it served, None if it never did."""
        try:
            worker = await WorkerProcess.start(self._settings, environment=self.environment)
        except OSError as error:  # too many processes, or too little memory: it may pass
            self._last_end = f"no process can be started: {error.strerror}"
            LOG.error("%s", self._last_end)  # noqa: TRY400 - the system's refusal, no bug of ours
            return None
        self._workers[worker.pid] = worker
        try:
            serving_since_s = await self._bring_up(worker)
        except BaseException:
            worker.kill()  # else its end would never come
            raise
        finally:
            exit_code = await worker.ended()
            self._bury(worker, exit_code)
        return None if serving_since_s is None else asyncio.get_running_loop().time() - serving_since_s

    async def _bring_up(self, worker: WorkerProcess) -> float | None:
        """Brings a worker to serve; gives the loop's time when it does, None if it ends before."""
        if self._stopping.is_set():
            worker.kill()
        report = await _report_of(worker)
        if isinstance(report, Proved):
            ready_line = f"{report.ready_line} | {self._settings.workers} workers"
            self._let_in(worker, fingerprint=report.fingerprint)
            report = await _report_of(worker)
            if isinstance(report, Serving):
                LOG.info("worker %d serves", worker.pid)
                if self._muster.serve(worker.pid):
                    settings = self._settings
                    LOG.info("serving on %s: %s", settings.address, describe_protection(settings))
                    announce(ready_line)
                return asyncio.get_running_loop().time()
        if isinstance(report, Failed):
            self._judge_failure(worker, report)
        return None

    def _let_in(self, worker: WorkerProcess, *, fingerprint: str) -> None:
        """Lets those serve that may, now that `worker` is proved."""
        try:
            pids = self._muster.prove(worker.pid, fingerprint=fingerprint)
        except DifferentBitsError as error:
            # Once ready, the program has changed under the server: a new start has the new one for all.
            exit_code = EXIT_WORKERS if self._muster.is_ready else EXIT_PROOF
            raise WorkersError(str(error), exit_code=exit_code) from None
        for pid in pids:
            self._workers[pid].go()

    def _judge_failure(self, worker: WorkerProcess, failure: Failed) -> None:
        """What fails at the first start would fail again; later it is tried again, as after a death."""
        if not self._muster.is_ready:
            raise WorkersError(failure.message, exit_code=failure.exit_code)
        self._failures[worker.pid] = f"cannot serve: {failure.message}"
        LOG.error("worker %d cannot serve: %s", worker.pid, failure.message)

    def _bury(self, worker: WorkerProcess, exit_code: int) -> None:
        """Strikes an ended worker off; the one place that every end passes."""
        del self._workers[worker.pid]
        served = self._muster.lose(worker.pid)
        why = self._failures.pop(worker.pid, _how_it_ended(exit_code))
        self._last_end = f"worker {worker.pid} {why}"
        if not self._stopping.is_set():
            LOG.warning("worker %d %s", worker.pid, _how_it_ended(exit_code))
        elif served and exit_code:
            LOG.error("worker %d %s while it drained", worker.pid, _how_it_ended(exit_code))
            self._unfinished_count += 1

    async def _wait_before_the_next(self, served_s: float | None) -> None:
        delay_s = self._restarts.delay_s(served_s=served_s, others_serve=self._muster.is_serving)
        if delay_s is None:
            raise WorkersError(
                f"{MAX_UNSERVED_COUNT} workers died one after another before they served; "
                "the log above says how",
                exit_code=EXIT_WORKERS,
            )
        if self._restarts.is_blocked:
            LOG.error("no worker can be replaced, the others serve on: %s", self._last_end)
        self._restart_count += 1
        LOG.info("a worker replaces it in %g s", delay_s)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), delay_s)

    async def _drain(self, keepers: Iterable[asyncio.Task[None]]) -> None:
        """Ends all workers, those that serve when they have finished; after the timeout at once."""
        self._stopping.set()
        timeout_s = self._settings.drain_timeout_s
        LOG.info("draining for up to %s s", timeout_s)
        for worker in self._workers.values():
            worker.stop()
        _, late = await asyncio.wait(keepers, timeout=timeout_s + END_MARGIN_S)
        if late:
            self._kill_all()
            await asyncio.wait(late)

    def _kill_all(self) -> None:
        for worker in self._workers.values():
            worker.kill()

    def _end_at_once(self, number: int) -> None:
        self._kill_all()
        end_at_once(number)


def _judge(*, number: signal.Signals | None, was_ready: bool, unfinished_count: int) -> None:
    """Says so if the end was not a good one."""
    if not was_ready and number is not None:
        raise WorkersError("interrupted", exit_code=exit_code_of_signal(number))
    if unfinished_count:
        raise WorkersError(
            f"{unfinished_count} workers died while they drained, and with them what they had not answered",
            exit_code=EXIT_UNFINISHED,
        )


async def _report_of(worker: WorkerProcess) -> Report | None:
    """What the worker tells next; None when it has ended, as it must if it tells what nobody understands."""
    try:
        return await worker.report()
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        LOG.error("worker %d reports what is no report: %r", worker.pid, error)  # noqa: TRY400 - no bug of ours
        worker.kill()
        return None


def _how_it_ended(exit_code: int) -> str:
    if exit_code >= 0:
        return f"ended with exit code {exit_code}"
    return f"was ended by {signal.Signals(-exit_code).name}"
