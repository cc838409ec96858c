"""grpc.health.v1, in place of gRPC's servicer, whose watchers would hold up a drain for its whole timeout."""

import asyncio
import contextlib
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health_pb2 import (  # type: ignore[attr-defined]  # the stubs are older than List
    HealthCheckRequest,
    HealthCheckResponse,
    HealthListRequest,
    HealthListResponse,
)

# Time that a watcher has to read a status, before its call ends.
SEND_TIMEOUT_S = 5.0

Context = grpc.aio.ServicerContext[Any, HealthCheckResponse]


class Health(health_pb2_grpc.HealthServicer):
    """The health of one service, and of the server as a whole (""): SERVING until `drain`."""

    def __init__(self, service: str) -> None:
        self._services = ("", service)
        self._is_draining = asyncio.Event()

    def drain(self) -> None:
        """Reports NOT_SERVING from now on, also to watchers, and ends their calls."""
        self._is_draining.set()

    async def Check(self, request: HealthCheckRequest, context: Context) -> HealthCheckResponse:  # noqa: N802
        if request.service not in self._services:
            await context.abort(
                grpc.StatusCode.NOT_FOUND, f"this server serves {' and '.join(map(repr, self._services))}"
            )
        return self._response(request.service)

    async def Watch(self, request: HealthCheckRequest, context: Context) -> None:  # noqa: N802
        """Sends the status now and, for a known service, once more when the server drains; then ends."""
        with contextlib.suppress(TimeoutError):  # the watcher does not read
            await self._send(request.service, context)
            await self._is_draining.wait()
            if request.service in self._services:
                await self._send(request.service, context)

    async def _send(self, name: str, context: Context) -> None:
        async with asyncio.timeout(SEND_TIMEOUT_S):
            await context.write(self._response(name))

    async def List(self, _request: HealthListRequest, _context: Context) -> HealthListResponse:  # noqa: N802
        return HealthListResponse(statuses={name: self._response(name) for name in self._services})

    def _response(self, name: str) -> HealthCheckResponse:
        if name not in self._services:
            return HealthCheckResponse(status=HealthCheckResponse.SERVICE_UNKNOWN)
        is_serving = not self._is_draining.is_set()
        status = HealthCheckResponse.SERVING if is_serving else HealthCheckResponse.NOT_SERVING
        return HealthCheckResponse(status=status)
