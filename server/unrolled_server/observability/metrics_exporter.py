"""Where a server's metrics go: to an endpoint of its own or to its supervisor, or nowhere.

A file of its own because a server does not care, and is the same alone and as one of several workers.
"""

import asyncio
import contextlib
import logging
import os
from pathlib import Path

from unrolled_server.observability import metrics
from unrolled_server.observability.metrics import Reading
from unrolled_server.observability.multiprocess import DIRECTORY_VARIABLE, WRITE_EVERY_S, write_reading
from unrolled_server.observability.prometheus import MetricsEndpoint, serve_metrics
from unrolled_server.observability.readings import Sources, of_a_lone_process, read

LOG = logging.getLogger(__name__)


class Outlet:
    """Hands out the metrics of one server.

    Args:
        address: Of the endpoint; empty for none. In a worker its supervisor's concern.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._directory = os.environ.get(DIRECTORY_VARIABLE)
        self._endpoint: MetricsEndpoint | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._sources: Sources | None = None
        self._is_ready = False

    @property
    def address(self) -> str:
        """Of the endpoint, with the port that was found; empty where there is none."""
        return self._endpoint.address if self._endpoint else ""

    def open(self) -> None:
        """Answers scrapes from now on, though there is little to say before `begin`.

        Raises:
            AddressError: The address is taken, malformed or not of this machine.
        """
        if self._address and not self._directory:
            self._endpoint = serve_metrics(self._address, reading=self._read_alone)

    def begin(self, sources: Sources) -> None:
        """Hands out what these objects count; they serve from now on."""
        self._sources, self._is_ready = sources, True
        if self._directory:
            self._tasks += [asyncio.create_task(self._write_again_and_again(Path(self._directory)))]

    def drain(self) -> None:
        """Says that the server takes nothing new."""
        self._is_ready = False

    async def finish(self) -> None:
        """Ends the readings that are handed out by the clock."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def close(self) -> None:
        """Says what there is to say for the last time; may be called from any thread, after `finish`."""
        if self._tasks and self._directory:
            with contextlib.suppress(OSError):
                write_reading(Path(self._directory), self._read())
        if self._endpoint:
            self._endpoint.close()

    def _read_alone(self) -> Reading:
        return {**of_a_lone_process(), **self._read()}

    def _read(self) -> Reading:
        if self._sources is None:
            return {metrics.READY_WORKERS: {(): 0}}
        return read(self._sources, is_ready=self._is_ready)

    async def _write_again_and_again(self, directory: Path) -> None:
        is_told = False
        while True:
            try:
                write_reading(directory, self._read())
                is_told = False
            except OSError as error:
                if not is_told:
                    LOG.warning("cannot write metrics to %s: %s", directory, error.strerror)
                is_told = True
            await asyncio.sleep(WRITE_EVERY_S)
