"""A server's life: bind, prove, serve, drain, end."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version

import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from unrolled.v1 import forward_pb2 as pb

from unrolled_server.address import listening
from unrolled_server.admission import Admission
from unrolled_server.batcher import Batcher
from unrolled_server.config import Settings
from unrolled_server.engine import Engine, WordVectors
from unrolled_server.intake import Intake
from unrolled_server.replies import Replies
from unrolled_server.service import SERVICE_NAME, ForwardService
from unrolled_server.vectors import VectorTable, open_vectors

LOG = logging.getLogger(__name__)
MIB = 2**20
# How long a server that ends goes on as before, how often it looks, and what its last replies get to travel.
MAX_FINISH_S = 1.0
POLL_S = 0.01
SEND_S = 0.2


class Server:
    """One gRPC server on one address, around one engine.

    Binding comes first, so that a taken address is told at once; calls that arrive before `start` is done
    wait in the listening socket.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stack = contextlib.ExitStack()
        self.address = settings.address
        self.admission = Admission(
            max_bytes=settings.max_inflight_mb * MIB,
            max_multiplications=settings.max_inflight_gmul * 10**9,
        )

    async def start(self) -> None:
        """Binds, opens the word vectors, proves the engines and serves.

        Raises:
            AddressError: The address is taken, malformed or not of this machine.
            VectorsError: A file of word vectors is malformed, or its converted form cannot be written.
            DeviceUnavailableError: The device is not on this machine.
            ProofError: The device gives a row other bits at other places; no reply could be trusted.
        """
        limits = self._settings.limits()
        self._server = grpc.aio.server(
            options=[
                # On, which is gRPC's default, a second server would share the port in silence.
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", limits.max_request_bytes),
                ("grpc.max_send_message_length", -1),  # validation has bounded it
            ]
        )
        bound = listening(self._server, self._settings.address)
        self.address = self._stack.enter_context(bound)
        tables = await _opened_vectors(self._settings)
        engines = await asyncio.to_thread(_proved_engines, self._settings, tables.values())
        self.info = _info(engines[0], self._settings, tables.values())
        self._batcher = Batcher(engines)
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self._service = ForwardService(
            Intake(
                batcher=self._batcher,
                limits=limits,
                admission=self.admission,
                replies=Replies(max_bytes=self._settings.reply_memory_mb * MIB),
                tables=tables,
                fingerprint=self.info.fingerprint,
            ),
            max_stream_bytes=self._settings.stream_bytes,
            info=self.info,
        )
        self._server.add_generic_rpc_handlers((self._service.handlers(),))
        if self._settings.reflection:
            names = (SERVICE_NAME, health.SERVICE_NAME, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(names, self._server)
        await self._server.start()
        await self._health.set(SERVICE_NAME, health_pb2.HealthCheckResponse.SERVING)

    async def stop(self) -> None:
        """Stops accepting, finishes what was accepted within the drain timeout, ends the thread."""
        await self._health.enter_graceful_shutdown()
        self._service.drain(within_s=self._settings.drain_timeout_s / 2)
        await self._finish_what_is_short()
        await self._server.stop(self._settings.drain_timeout_s)
        await self._batcher.close()
        self._stack.close()

    async def _finish_what_is_short(self) -> None:
        """Gives what runs a moment to end before gRPC is told to stop.

        Once told, gRPC closes a connection with its last call, and if the client has sent anything meanwhile
        the system drops what it had not read yet: now and then the end of a large reply.
        """
        if not self.admission.ticket_count:
            return
        limit_s = min(MAX_FINISH_S, self._settings.drain_timeout_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                while self.admission.ticket_count:  # noqa: ASYNC110 - asked once, when the server ends
                    await asyncio.sleep(POLL_S)
                await asyncio.sleep(SEND_S)


async def _opened_vectors(settings: Settings) -> Mapping[str, VectorTable]:
    """The tables by name. A file that is new to this machine takes some seconds, of which the log tells."""
    stop = threading.Event()
    tables = {}
    try:
        for name, file in settings.vectors.items():
            open_table = partial(open_vectors, cache_directory=settings.vectors_cache, stop=stop)
            tables[name] = await asyncio.to_thread(open_table, name, file)
    finally:
        stop.set()  # else an interrupted process would end only when the thread has converted its file
    return tables


def _proved_engines(settings: Settings, tables: Iterable[VectorTable]) -> list[Engine]:
    """One engine for each compute thread, all with the same bits."""
    memory = settings.state_memory_bytes_per_thread
    vectors = [WordVectors(table.digest, table.rows, table.mean) for table in tables]
    engines = [
        Engine(device=settings.device, state_memory_bytes=memory, vectors=vectors)
        for _ in range(settings.compute_threads)
    ]
    for engine in engines:
        engine.prove()
    return engines


def _info(engine: Engine, settings: Settings, tables: Iterable[VectorTable]) -> pb.GetServerInfoReply:
    return pb.GetServerInfoReply(
        version=version("unrolled"),
        torch_version=version("torch"),
        device=engine.device,
        fingerprint=engine.fingerprint,
        limits=pb.Limits(**{name: getattr(settings, name) for name in pb.Limits.DESCRIPTOR.fields_by_name}),
        vectors=[
            pb.Vectors(name=table.name, word_count=table.word_count, size=table.size, digest=table.digest)
            for table in tables
        ],
    )


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
        AddressError, VectorsError: See `Server.start`.
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
    """A server inside this process; `address` is what a client takes, `admission` what it counts."""

    address: str
    admission: Admission


@contextlib.contextmanager
def running_server(settings: Settings) -> Iterator[RunningServer]:
    """A server on a thread of its own, for demonstrations, tests and notebooks; drained and ended on exit.

    Raises:
        AddressError, VectorsError: See `Server.start`.
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
    running = RunningServer(address=server.address, admission=server.admission)
    ready.set_result((running, partial(loop.call_soon_threadsafe, released.set)))
    await released.wait()
    await server.stop()
