"""grpc.health.v1: whether this server serves, for those who ask once and for those who watch.

A file of its own because gRPC's servicer holds up the end: its watchers stay, so that a drain would last its
whole timeout, and one that does not read keeps a lock for which the drain would wait without end.
"""

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

# What a watcher gets to take a few bytes before it is given up.
SEND_S = 5.0

Context = grpc.aio.ServicerContext[Any, HealthCheckResponse]


class Health(health_pb2_grpc.HealthServicer):
    """Serving from the start until `drain`. Used from one event loop.

    Args:
        service: The name of the service that is served; the empty name, the server as a whole, is known, too.
    """

    def __init__(self, service: str) -> None:
        self._services = ("", service)
        self._is_draining = asyncio.Event()

    def drain(self) -> None:
        """Says from now on that nothing is served; tells those who watch, and lets them go."""
        self._is_draining.set()

    async def Check(self, request: HealthCheckRequest, context: Context) -> HealthCheckResponse:  # noqa: N802
        """The status of one service; NOT_FOUND where the server has none of that name."""
        if request.service not in self._services:
            await context.abort(
                grpc.StatusCode.NOT_FOUND, f"this server serves {' and '.join(map(repr, self._services))}"
            )
        return self._response(request.service)

    async def Watch(self, request: HealthCheckRequest, context: Context) -> None:  # noqa: N802
        """The status now and, where that changes it, when the server drains. Then it ends."""
        with contextlib.suppress(TimeoutError):  # a watcher that does not read
            await self._tell(request.service, context)
            await self._is_draining.wait()
            if request.service in self._services:
                await self._tell(request.service, context)

    async def _tell(self, name: str, context: Context) -> None:
        async with asyncio.timeout(SEND_S):
            await context.write(self._response(name))

    async def List(self, _request: HealthListRequest, _context: Context) -> HealthListResponse:  # noqa: N802
        """The status of all."""
        return HealthListResponse(statuses={name: self._response(name) for name in self._services})

    def _response(self, name: str) -> HealthCheckResponse:
        if name not in self._services:
            return HealthCheckResponse(status=HealthCheckResponse.SERVICE_UNKNOWN)
        is_serving = not self._is_draining.is_set()
        status = HealthCheckResponse.SERVING if is_serving else HealthCheckResponse.NOT_SERVING
        return HealthCheckResponse(status=status)
