"""One gRPC server on one address, around what answers: bind, prove, serve, stop."""

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING, NamedTuple

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from unrolled_server.backend import Backend
from unrolled_server.observability.access_log import is_wanted, log_request
from unrolled_server.observability.metrics_exporter import Outlet
from unrolled_server.observability.request_observer import Listener
from unrolled_server.rpc.service import SERVICE_NAME
from unrolled_server.security.bearer_tokens import TokenCheck, Tokens
from unrolled_server.settings.model import Settings
from unrolled_server.transport.channel_args import channel_arguments
from unrolled_server.transport.disconnect import disconnect
from unrolled_server.transport.exposure import refuse_clear_text
from unrolled_server.transport.health import Health
from unrolled_server.transport.listen import listening
from unrolled_server.transport.unregistered_methods import aio_server

if TYPE_CHECKING:
    from unrolled_server.observability.otel import MetricsExport, Spans

LOG = logging.getLogger(__name__)
# How long a server that ends goes on as before, how often it looks, and what its last replies get to travel.
MAX_FINISH_S = 5.0
POLL_S = 0.01
# What was sent before the end began may have arrived without having begun.
ARRIVE_S = 0.1
SEND_S = 0.2
# How often slow readers are looked for.
WATCH_S = 0.25


class Server:
    """Serves on one address.

    `start` binds first, so that a taken address is told at once; calls that arrive before it is done wait in
    the listening socket.

    Args:
        settings: What it serves, and where.
        shares_port: Whether other servers of this user may listen on the address too.
    """

    def __init__(self, settings: Settings, *, shares_port: bool = False) -> None:
        self._settings = settings
        self._shares_port = shares_port
        self._stack = contextlib.ExitStack()
        self._otel = _open_telemetry() if settings.otel else None
        self._backend = Backend(settings, _listeners(self._otel))
        self.outlet = Outlet(settings.metrics_address, self._otel and self._otel.metrics)
        self.address = settings.address
        self.admission = self._backend.admission

    async def start(self) -> None:
        """Binds, prepares and serves.

        Raises:
            CredentialsError, AddressError: See `bind`.
            VectorsError, DeviceUnavailableError, ProofError: See `prepare`.
        """
        try:
            self.bind()
            await self.prepare()
            await self.serve()
        except BaseException:
            await asyncio.to_thread(self._stack.close)
            raise

    def bind(self) -> None:
        """Takes the address; calls that arrive from now on wait in its listening socket.

        Raises:
            CredentialsError: A file of certificates, keys or tokens cannot be used.
            AddressError: The address is taken, malformed, not of this machine, or open to others in clear
                text.
        """
        settings = self._settings
        credentials = _opened_credentials(settings)
        refuse_clear_text(settings)
        self._server = aio_server(
            options=channel_arguments(settings, shares_port=self._shares_port),
            interceptors=_interceptors(settings),
        )
        self.address = self._stack.enter_context(
            listening(self._server, settings.address, credentials=credentials)
        )
        self.outlet.open()
        self._stack.callback(self.outlet.close)
        if self._otel:
            self._stack.callback(self._otel.spans.close)

    async def prepare(self) -> None:
        """Opens the word vectors and proves the engines, which takes most of a start.

        Raises:
            VectorsError, DeviceUnavailableError, ProofError: See `Backend.prepare`.
        """
        await self._backend.prepare()
        self.info = self._backend.info

    async def serve(self) -> None:
        """Answers calls on the address, and says so to those who ask for its health."""
        self._service = self._backend.start()
        self._service.add_to(self._server)
        self._health = Health(SERVICE_NAME)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        if self._settings.reflection:
            names = (SERVICE_NAME, health.SERVICE_NAME, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(names, self._server)
        await self._server.start()
        self._backend.start_background(self._send_slow_readers_away())
        self.outlet.begin(self._backend.sources())

    async def stop(self) -> None:
        """Stops accepting, finishes what was accepted within the drain timeout, ends the thread."""
        began_s = time.monotonic()
        self.outlet.drain()
        self._health.drain()
        await asyncio.sleep(min(ARRIVE_S, self._settings.drain_timeout_s))
        self._service.drain(within_s=self._settings.drain_timeout_s / 2)
        await self._finish_what_is_short()
        left_s = max(0.0, self._settings.drain_timeout_s - (time.monotonic() - began_s))
        ending = asyncio.create_task(self._server.stop(left_s))
        await asyncio.sleep(0)  # so that those who are sent away have heard that the connection ends
        self._service.refuse_delayed()
        await ending
        await self._backend.close()
        await self.outlet.finish()
        await asyncio.to_thread(self._stack.close)

    async def _send_slow_readers_away(self) -> None:
        while True:
            await asyncio.sleep(WATCH_S)
            slow_consumers = self._backend.slow_consumers
            closed = disconnect(slow_consumers.mark_slow(now_s=time.monotonic()))
            slow_consumers.evicted(closed)
            for peer in sorted(closed):
                LOG.warning("closed the connection of %s, which did not read its replies", peer)

    async def _finish_what_is_short(self) -> None:
        """Gives what was accepted a moment to end before gRPC is told to stop; new calls are held meanwhile.

        Once told, gRPC closes a connection with its last call, and if the client has sent anything meanwhile
        the system drops what it had not read yet: now and then the end of a large reply.
        """
        if not self.admission.reservation_count:
            return
        limit_s = min(MAX_FINISH_S, self._settings.drain_timeout_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                while self.admission.reservation_count:  # noqa: ASYNC110 - asked once, when the server ends
                    await asyncio.sleep(POLL_S)
                await asyncio.sleep(SEND_S)


class _Telemetry(NamedTuple):
    spans: "Spans"
    metrics: "MetricsExport"


def _open_telemetry() -> _Telemetry:
    # Here, because it is an extra.
    from unrolled_server.observability.otel import MetricsExport, Spans  # noqa: PLC0415

    return _Telemetry(Spans(), MetricsExport())


def _listeners(telemetry: _Telemetry | None) -> list[Listener]:
    """Who is told of each request that ends."""
    listeners: list[Listener] = [log_request] if is_wanted() else []
    if telemetry:
        listeners.append(telemetry.spans.trace)
    return listeners


def _opened_credentials(settings: Settings) -> grpc.ServerCredentials | None:
    """What the port needs for TLS; None for clear text."""
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    # Here, because most servers have no need of what it loads.
    from unrolled_server.security.tls import tls_credentials  # noqa: PLC0415

    return tls_credentials(settings.tls_certificate, settings.tls_key, client_ca=settings.tls_client_ca)


def _interceptors(settings: Settings) -> list[grpc.aio.ServerInterceptor]:
    """What calls pass before they are answered; nothing at all where they need no token, for speed."""
    return [] if settings.tokens is None else [TokenCheck(Tokens(settings.tokens))]
