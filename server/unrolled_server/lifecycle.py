"""The life of a process that serves: ready, then until it is told to stop, then drained."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

from unrolled_server.admission import Admission
from unrolled_server.config import Settings
from unrolled_server.server import MIB, Server

LOG = logging.getLogger(__name__)


def ready_line(server: Server) -> str:
    """The one line on standard output: address, device, limits, fingerprint."""
    info = server.info
    limits = info.limits
    return (
        f"unrolled-server ready on {server.address} | device {info.device} | "
        f"up to {limits.max_words:,} words of {limits.max_word_length:,} symbols, "
        f"hidden size {limits.max_hidden_size:,}, replies of {limits.max_reply_bytes // MIB} MiB | "
        f"fingerprint {info.fingerprint}"
    )


async def serve(settings: Settings) -> None:
    """Serves until SIGTERM, SIGINT or, if so set, the end of standard input; then drains.

    Raises:
        AddressError, MetricsAddressError, VectorsError: See `Server.start`.
        DeviceUnavailableError, ProofError: See `Server.start`.
    """
    server = Server(settings)
    await server.start()
    gc.collect()
    gc.freeze()  # torch's objects stay: looking at them again and again cost small calls a twentieth
    print(ready_line(server), flush=True)  # noqa: T201 - the line that starters wait for
    await _asked_to_stop(watch_stdin=settings.exit_with_stdin)
    LOG.info("draining for up to %s s", settings.drain_timeout_s)
    await server.stop()


async def _asked_to_stop(*, watch_stdin: bool) -> None:
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked.set)
    if watch_stdin:
        threading.Thread(target=_wait_for_end_of_stdin, args=(loop, asked), name="stdin", daemon=True).start()
    await asked.wait()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(number)  # a second signal ends the process at once


def _wait_for_end_of_stdin(loop: asyncio.AbstractEventLoop, asked: asyncio.Event) -> None:
    # Below sys.stdin: a daemon thread inside its lock would break the interpreter's exit.
    while os.read(0, 4096):
        pass
    with contextlib.suppress(RuntimeError):  # the loop ended first
        loop.call_soon_threadsafe(asked.set)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningServer:
    """A server inside this process: what a client takes, where its metrics are, and what it holds."""

    address: str
    metrics_address: str
    admission: Admission


@contextlib.contextmanager
def running_server(settings: Settings) -> Iterator[RunningServer]:
    """A server on a thread of its own, for demonstrations, tests and notebooks; drained and ended on exit.

    Raises:
        AddressError, MetricsAddressError, VectorsError: See `Server.start`.
        DeviceUnavailableError, ProofError: See `Server.start`.
    """
    ready: Future[tuple[RunningServer, Callable[[], object]]] = Future()
    thread = threading.Thread(
        target=asyncio.run, args=(_serve_until_released(settings, ready),), name="server"
    )
    thread.start()
    running, release = ready.result()
    try:
        yield running
    finally:
        release()
        thread.join()


async def _serve_until_released(
    settings: Settings, ready: Future[tuple[RunningServer, Callable[[], object]]]
) -> None:
    released = asyncio.Event()
    loop = asyncio.get_running_loop()
    server = Server(settings)
    try:
        await server.start()
    except BaseException as error:  # noqa: BLE001 - handed to the thread that asked
        ready.set_exception(error)
        return
    running = RunningServer(
        address=server.address, metrics_address=server.outlet.address, admission=server.admission
    )
    ready.set_result((running, partial(loop.call_soon_threadsafe, released.set)))
    await released.wait()
    await server.stop()
