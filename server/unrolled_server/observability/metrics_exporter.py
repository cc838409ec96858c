"""Exports a server's metrics; hides from the server whether it runs alone or as a worker."""

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from socket import socket

from prometheus_client import Metric

from unrolled_server.observability.multiprocess import DIRECTORY_VARIABLE, WRITE_INTERVAL_S, write_families
from unrolled_server.observability.process_metrics import collect_workers, ready_workers
from unrolled_server.observability.prometheus import MetricsEndpoint

LOG = logging.getLogger(__name__)


class MetricsExporter:
    """The metrics of one server, on an endpoint of its own or, in a worker, in a file for its supervisor."""

    def __init__(self) -> None:
        directory = os.environ.get(DIRECTORY_VARIABLE)
        self._directory = Path(directory) if directory else None
        self._endpoint: MetricsEndpoint | None = None
        self._writing: asyncio.Task[None] | None = None
        self._collect_server: Callable[[], Iterable[Metric]] = lambda: ()
        self._is_ready = False

    @property
    def address(self) -> str:
        """The endpoint's HOST:PORT; empty without an endpoint."""
        return self._endpoint.address if self._endpoint else ""

    def open(self, address: str, listen: Callable[[str], Sequence[socket]]) -> None:
        """Answers scrapes on the sockets that `listen` opens on `address`, unless a supervisor does."""
        if address and not self._directory:
            self._endpoint = MetricsEndpoint(address, listen(address), [self._collect])

    def start(self, collect: Callable[[], Iterable[Metric]]) -> None:
        """Exports what `collect` yields, which other threads call, and that the server is ready."""
        self._collect_server, self._is_ready = collect, True
        if self._directory:
            self._writing = asyncio.create_task(self._write_every_second(self._directory))

    def drain(self) -> None:
        """Exports from now on that the server is not ready."""
        self._is_ready = False

    def finish(self) -> None:
        """Writes a worker's file for the last time."""
        if self._writing and self._directory:
            self._writing.cancel()
            with contextlib.suppress(OSError):
                write_families(self._directory, self._collect())

    def close(self) -> None:
        """Stops answering scrapes; may be called from any thread."""
        if self._endpoint:
            self._endpoint.close()

    def _collect(self) -> Iterator[Metric]:
        if not self._directory:
            yield from collect_workers(1, restart_count=0)
        yield ready_workers(int(self._is_ready))
        yield from self._collect_server()

    async def _write_every_second(self, directory: Path) -> None:
        has_failed = False
        while True:
            try:
                write_families(directory, self._collect())
                has_failed = False
            except OSError as error:
                if not has_failed:
                    LOG.warning("cannot write metrics to %s: %s", directory, error.strerror)
                has_failed = True
            await asyncio.sleep(WRITE_INTERVAL_S)
