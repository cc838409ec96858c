"""One gRPC server on one address, around a backend: bind, prepare, serve, stop."""

import asyncio
import contextlib
import logging
import time
from functools import partial
from typing import TYPE_CHECKING

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from unrolled_server.backend import Backend
from unrolled_server.observability import access_log
from unrolled_server.observability.metrics_exporter import MetricsExporter
from unrolled_server.observability.request_observer import Listener
from unrolled_server.rpc.service import SERVICE_NAME
from unrolled_server.security.bearer_tokens import TokenCheck, TokenFile
from unrolled_server.settings import Settings
from unrolled_server.transport.address import listeners, require_tls_or_loopback
from unrolled_server.transport.channel_args import channel_arguments
from unrolled_server.transport.disconnect import disconnect
from unrolled_server.transport.health import Health
from unrolled_server.transport.listen import listen
from unrolled_server.transport.unregistered_methods import aio_server

if TYPE_CHECKING:
    from unrolled_server.observability.otel import RequestTracer

LOG = logging.getLogger(__name__)
# For calls that clients sent before the drain, to arrive.
ARRIVE_S = 0.1
# For short calls, to finish before gRPC stops; then for their replies, to arrive.
MAX_FINISH_S = 5.0
POLL_S = 0.01
SEND_S = 0.2
# Between searches for slow consumers.
WATCH_S = 0.25


class Server:
    """A gRPC server on one address, which other processes of this user may share if `shares_port`."""

    def __init__(self, settings: Settings, *, shares_port: bool = False) -> None:
        self._settings = settings
        self._shares_port = shares_port
        self._stack = contextlib.ExitStack()
        self._tracer = _request_tracer() if settings.otel else None
        self._backend = Backend(settings, _listeners(self._tracer))
        self.metrics = MetricsExporter()
        self.address = settings.address
        self.admission = self._backend.admission

    async def start(self) -> None:
        """Binds, so that a taken address fails at once; then prepares and serves; raises StartupError."""
        try:
            self.bind()
            await self.prepare()
            await self.serve()
        except BaseException:
            await asyncio.to_thread(self._stack.close)
            raise

    def bind(self) -> None:
        """Binds the address; calls wait in its listening socket from now on.

        Raises:
            CredentialsError: A file of certificates, keys or tokens cannot be used.
            AddressError: The address is taken, malformed, not of this machine, or open to other machines in
                clear text.
        """
        settings = self._settings
        credentials = _load_credentials(settings)
        require_tls_or_loopback(settings)
        self._server = aio_server(
            options=channel_arguments(settings, shares_port=self._shares_port),
            interceptors=_interceptors(settings),
        )
        self.address = self._stack.enter_context(
            listen(self._server, settings.address, credentials=credentials)
        )
        self.metrics.open(settings.metrics_address, partial(listeners, flag="--metrics-address"))
        self._stack.callback(self.metrics.close)
        if self._tracer:
            self._stack.callback(self._tracer.close)

    async def prepare(self) -> None:
        """Opens the word vectors and verifies the engines; raises StartupError, see `Backend.prepare`."""
        await self._backend.prepare()
        self.info = self._backend.info

    async def serve(self) -> None:
        """Starts answering calls; health reports SERVING."""
        self._service = self._backend.start()
        self._service.add_to(self._server)
        self._health = Health(SERVICE_NAME)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        if self._settings.reflection:
            names = (SERVICE_NAME, health.SERVICE_NAME, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(names, self._server)
        await self._server.start()
        self._backend.start_background(self._disconnect_slow_consumers())
        self.metrics.start(self._backend.collect)

    async def stop(self) -> None:
        """Accepts nothing new, finishes accepted calls within the drain timeout, releases everything."""
        started_s = time.monotonic()
        self.metrics.drain()
        self._health.drain()
        await asyncio.sleep(min(ARRIVE_S, self._settings.drain_timeout_s))
        self._service.drain(within_s=self._settings.drain_timeout_s / 2)
        await self._finish_short_calls()
        left_s = max(0.0, self._settings.drain_timeout_s - (time.monotonic() - started_s))
        ending = asyncio.create_task(self._server.stop(left_s))
        await asyncio.sleep(0)  # so that clients learn that the connection ends before their calls do
        self._service.refuse_delayed()
        await ending
        await self._backend.close()
        self.metrics.finish()
        await asyncio.to_thread(self._stack.close)

    async def _disconnect_slow_consumers(self) -> None:
        while True:
            await asyncio.sleep(WATCH_S)
            slow_consumers = self._backend.slow_consumers
            closed = disconnect(slow_consumers.mark_slow(now_s=time.monotonic()))
            slow_consumers.evicted(closed)
            for peer in sorted(closed):
                LOG.warning("closed the connection of %s, which did not read its replies", peer)

    async def _finish_short_calls(self) -> None:
        """Gives accepted calls a moment to end before gRPC stops; the service holds new calls meanwhile.

        When it stops, gRPC closes each connection after its last call. If the client has sent anything in the
        meantime, the system drops what the client has not read yet, which may be the end of a large reply.
        """
        if not self.admission.reservation_count:
            return
        limit_s = min(MAX_FINISH_S, self._settings.drain_timeout_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                while self.admission.reservation_count:  # noqa: ASYNC110 - once in a server's life
                    await asyncio.sleep(POLL_S)
                await asyncio.sleep(SEND_S)


def _request_tracer() -> "RequestTracer":
    # Here, because it is an extra.
    from unrolled_server.observability.otel import RequestTracer  # noqa: PLC0415

    return RequestTracer()


def _listeners(tracer: "RequestTracer | None") -> list[Listener]:
    logs: list[Listener] = [access_log.log_request] if access_log.is_enabled() else []
    return [*logs, tracer.trace] if tracer else logs


def _load_credentials(settings: Settings) -> grpc.ServerCredentials | None:
    """Returns the credentials for TLS; None for clear text."""
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    # Here, because `cryptography` takes 8 MiB, which a server without TLS saves.
    from unrolled_server.security.tls import tls_credentials  # noqa: PLC0415

    return tls_credentials(settings.tls_certificate, settings.tls_key, client_ca=settings.tls_client_ca)


def _interceptors(settings: Settings) -> list[grpc.aio.ServerInterceptor]:
    """Returns the check of tokens; nothing where calls need no token, because each interceptor costs time."""
    return [] if settings.tokens is None else [TokenCheck(TokenFile(settings.tokens))]
