"""A server on a thread of this process, for demonstrations, tests and notebooks."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

from unrolled_server.scheduling.admission import Admission
from unrolled_server.settings import Settings
from unrolled_server.transport.server import Server


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningServer:
    """The address for clients, the address of the metrics ("" without them), and the requests in flight."""

    address: str
    metrics_address: str
    admission: Admission


@contextlib.contextmanager
def running_server(settings: Settings) -> Iterator[RunningServer]:
    """Runs a server on a thread of its own; drains and ends it on exit.

    Raises:
        StartupError: The server cannot start; see `Server.start`.
    """
    ready: Future[tuple[RunningServer, Callable[[], object]]] = Future()
    thread = threading.Thread(
        target=asyncio.run, args=(_serve_until_stopped(settings, ready),), name="server"
    )
    thread.start()
    running, stop = ready.result()
    try:
        yield running
    finally:
        stop()
        thread.join()


async def _serve_until_stopped(
    settings: Settings, ready: Future[tuple[RunningServer, Callable[[], object]]]
) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    try:
        server = Server(settings)
        await server.start()
    except BaseException as error:  # noqa: BLE001 - raised in the thread that called running_server
        ready.set_exception(error)
        return
    running = RunningServer(
        address=server.address, metrics_address=server.metrics.address, admission=server.admission
    )
    ready.set_result((running, partial(loop.call_soon_threadsafe, stopped.set)))
    await stopped.wait()
    await server.stop()
