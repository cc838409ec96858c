"""The life of a process that serves: ready, then until it is told to stop, then drained."""

import asyncio
import contextlib
import gc
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

from unrolled_server.backend import MIB
from unrolled_server.engine import DeviceUnavailableError, ProofError
from unrolled_server.exit_codes import (
    EXIT_ADDRESS,
    EXIT_CREDENTIALS,
    EXIT_DEVICE,
    EXIT_PROOF,
    EXIT_VECTORS,
)
from unrolled_server.process.ready_notification import announce
from unrolled_server.process.shutdown_signals import told_to_stop
from unrolled_server.scheduling.admission import Admission
from unrolled_server.security.credential_files import CredentialsError
from unrolled_server.settings.model import Settings
from unrolled_server.transport import failed_handshakes
from unrolled_server.transport.address import AddressError
from unrolled_server.transport.exposure import protection
from unrolled_server.transport.server import Server
from unrolled_server.word_vectors import VectorsError

LOG = logging.getLogger(__name__)

START_ERRORS: Mapping[type[Exception], int] = {
    CredentialsError: EXIT_CREDENTIALS,
    AddressError: EXIT_ADDRESS,
    DeviceUnavailableError: EXIT_DEVICE,
    ProofError: EXIT_PROOF,
    VectorsError: EXIT_VECTORS,
}
"""What can be wrong with a start, and the command's exit code for it."""


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
    """Serves until SIGTERM, SIGINT, SIGHUP or, if so set, the end of standard input; then drains.

    Raises:
        CredentialsError, AddressError, VectorsError: See `Server.start`.
        DeviceUnavailableError, ProofError: See `Server.start`.
    """
    with failed_handshakes.told_seldom() if settings.tls_certificate else contextlib.nullcontext():
        await _serve(settings)


async def _serve(settings: Settings) -> None:
    server = Server(settings)
    await server.start()
    settle()
    told = asyncio.create_task(told_to_stop(watch_stdin=settings.exit_with_stdin))
    await asyncio.sleep(0)  # it listens before anybody reads that there is something to stop
    LOG.info("serving on %s: %s", server.address, protection(settings))
    announce(ready_line(server))
    await told
    LOG.info("draining for up to %s s", settings.drain_timeout_s)
    await server.stop()


def settle() -> None:
    """Ends a start: what is there by now stays, and is not looked at again and again."""
    gc.collect()
    gc.freeze()  # torch's many objects cost small calls a twentieth


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
        CredentialsError, AddressError, VectorsError: See `Server.start`.
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
    try:
        server = Server(settings)
        await server.start()
    except BaseException as error:  # noqa: BLE001 - handed to the thread that asked
        ready.set_exception(error)
        return
    running = RunningServer(
        address=server.address, metrics_address=server.metrics.address, admission=server.admission
    )
    ready.set_result((running, partial(loop.call_soon_threadsafe, released.set)))
    await released.wait()
    await server.stop()
