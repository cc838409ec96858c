"""Runs several workers on one port: all ready at once, replaced when they die, drained together.

The supervisor imports neither the engine nor gRPC, so few failures can take it down.
"""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from prometheus_client import Metric

from unrolled_server.exit_codes import EXIT_UNFINISHED, exit_code_of_signal
from unrolled_server.observability.multiprocess import DIRECTORY_VARIABLE, WorkerFiles
from unrolled_server.observability.process_metrics import collect_workers
from unrolled_server.observability.prometheus import MetricsEndpoint
from unrolled_server.process.ready_notification import notify_ready
from unrolled_server.process.shutdown_signals import exit_at_once, wait_for_shutdown
from unrolled_server.process.supervision_policy import (
    MAX_DELAY_S,
    ReadinessGate,
    RestartBackoff,
    WorkersError,
)
from unrolled_server.process.worker_process import WorkerProcess
from unrolled_server.process.worker_protocol import Failed, Serving, Verified
from unrolled_server.settings import Settings
from unrolled_server.transport.address import (
    describe_protection,
    listeners,
    require_tls_or_loopback,
    reserve_port,
)

LOG = logging.getLogger(__name__)

# Time for a worker's last batch, beyond the drain timeout.
END_MARGIN_S = 5.0


async def supervise(settings: Settings) -> None:
    """Serves with `settings.workers` processes until shutdown; then drains them.

    Raises:
        AddressError: The address is taken, malformed, not of this machine, or open to others in clear text.
        WorkersError: The workers cannot start, keep dying, or one of them died while it drained; or a signal
            came before they were ready.
    """
    require_tls_or_loopback(settings)
    with contextlib.ExitStack() as stack:
        address = stack.enter_context(reserve_port(settings.address))
        supervisor = Supervisor(settings.share().model_copy(update={"address": address}))
        if settings.metrics_address:
            directory = Path(stack.enter_context(TemporaryDirectory(prefix="unrolled-metrics-")))
            supervisor.environment[DIRECTORY_VARIABLE] = str(directory)
            sockets = listeners(settings.metrics_address, flag="--metrics-address")
            collectors = (supervisor.collect, WorkerFiles(directory).collect)
            endpoint = MetricsEndpoint(settings.metrics_address, sockets, collectors)
            stack.callback(endpoint.close)
        await supervisor.run()


class Supervisor:
    """Keeps `settings.workers` workers running; `environment` has variables for them beside its own."""

    def __init__(self, settings: Settings) -> None:
        self.environment: dict[str, str] = {}
        self._settings = settings
        self._workers: dict[int, WorkerProcess] = {}
        self._gate = ReadinessGate(settings.workers)
        self._backoff = RestartBackoff()
        self._stopping = asyncio.Event()
        self._restart_count = 0
        self._unfinished_count = 0

    def collect(self) -> Iterator[Metric]:
        """Yields the metrics that its workers cannot know; may be called from any thread."""
        yield from collect_workers(self._settings.workers, restart_count=self._restart_count)

    async def run(self) -> None:
        """Starts the workers, reports ready, replaces dead workers until shutdown, then drains."""
        watch_stdin = self._settings.exit_with_stdin
        shutdown = asyncio.create_task(
            wait_for_shutdown(watch_stdin=watch_stdin, on_second_signal=self._exit_at_once)
        )
        keepers = [asyncio.create_task(self._keep_worker()) for _ in range(self._settings.workers)]
        await asyncio.wait([shutdown, *keepers], return_when=asyncio.FIRST_COMPLETED)
        was_ready = self._gate.is_ready
        await self._drain(keepers)
        await asyncio.gather(*keepers)  # raises what ended one of them
        number = shutdown.result()
        if number is not None and not was_ready:
            raise WorkersError("interrupted", exit_code=exit_code_of_signal(number))
        if self._unfinished_count:
            raise WorkersError(
                f"{self._unfinished_count} workers died while they drained, and with them what they had not "
                "answered",
                exit_code=EXIT_UNFINISHED,
            )

    async def _keep_worker(self) -> None:
        while not self._stopping.is_set():
            served = await self._run_worker()
            if self._stopping.is_set():
                return
            delay_s = self._backoff.next_delay(served=served, others_serve=self._gate.is_serving)
            if delay_s >= MAX_DELAY_S:
                LOG.error("no worker can be replaced, the others serve on; the log above says why")
            self._restart_count += 1
            LOG.info("a worker replaces it in %g s", delay_s)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay_s)

    async def _run_worker(self) -> bool:
        """Runs a worker until it ends; returns whether it served."""
        try:
            worker = await WorkerProcess.start(self._settings, environment=self.environment)
        except OSError as error:  # too many processes, or too little memory, which may pass
            LOG.error("no process can be started: %s", error.strerror)  # noqa: TRY400 - no bug here
            return False
        self._workers[worker.pid] = worker
        try:
            await self._start_serving(worker)
        except BaseException:
            worker.kill()  # else it would not end
            raise
        finally:
            exit_code = await worker.wait()
            del self._workers[worker.pid]
            served = self._gate.remove(worker.pid)
        end = f"worker {worker.pid} {_describe_exit(exit_code)}"
        if not self._stopping.is_set():
            LOG.warning("%s", end)
        elif served and exit_code:
            LOG.error("%s while it drained", end)
            self._unfinished_count += 1
        return served

    async def _start_serving(self, worker: WorkerProcess) -> None:
        """Returns when the worker serves, or has ended."""
        if self._stopping.is_set():  # while the process was created
            worker.kill()
        report = await worker.read_report()
        if isinstance(report, Verified):
            for pid in self._gate.add_verified(worker.pid, fingerprint=report.fingerprint):
                self._workers[pid].go()
            ready_line = f"{report.ready_line} | {self._settings.workers} workers"
            report = await worker.read_report()
            if isinstance(report, Serving):
                LOG.info("worker %d serves", worker.pid)
                if self._gate.add_serving(worker.pid):
                    LOG.info("serving on %s: %s", self._settings.address, describe_protection(self._settings))
                    notify_ready(ready_line)
        if isinstance(report, Failed):
            if not self._gate.is_ready:  # at the first start, where a retry would fail again
                raise WorkersError(report.message, exit_code=report.exit_code)
            LOG.error("worker %d cannot serve: %s", worker.pid, report.message)

    async def _drain(self, keepers: Iterable[asyncio.Task[None]]) -> None:
        """Stops all workers, and kills those that have not ended after the timeout."""
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

    def _exit_at_once(self, number: int) -> None:
        self._kill_all()
        exit_at_once(number)


def _describe_exit(exit_code: int) -> str:
    if exit_code >= 0:
        return f"ended with exit code {exit_code}"
    return f"was ended by {signal.Signals(-exit_code).name}"
