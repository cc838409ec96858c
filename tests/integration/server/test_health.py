"""The health service: checks, watches, and watchers during shutdown."""

import asyncio

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from unrolled_server.transport import health
from unrolled_server.transport.health import Health

SERVICE = "a.Service"
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class Unread:
    """A call whose client reads nothing."""

    async def write(self, _message):
        await asyncio.Event().wait()


def run_with_server(ask):
    """Runs `ask(stub, health)` against a new server."""

    async def run():
        server, servicer = grpc.aio.server(), Health(SERVICE)
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                await ask(health_pb2_grpc.HealthStub(channel), servicer)
        finally:
            await server.stop(None)

    asyncio.run(run())


def named(service):
    return health_pb2.HealthCheckRequest(service=service)


def test_a_server_and_its_service_are_serving_until_the_drain():
    async def ask(stub, servicer):
        for status in (SERVING, NOT_SERVING):
            for name in ("", SERVICE):
                assert (await stub.Check(named(name))).status == status
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Check(named("another"))
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND
            servicer.drain()

    run_with_server(ask)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("", [SERVING, NOT_SERVING]), (SERVICE, [SERVING, NOT_SERVING]), ("another", [UNKNOWN])],
)
def test_a_watcher_gets_the_new_status_of_a_drain_and_then_ends(name, expected):
    async def ask(stub, servicer):
        statuses = []
        async for response in stub.Watch(named(name)):
            statuses.append(response.status)
            servicer.drain()
        assert statuses == expected

    run_with_server(ask)


def test_a_watcher_that_does_not_read_is_dropped(monkeypatch):
    monkeypatch.setattr(health, "SEND_TIMEOUT_S", 0.01)
    asyncio.run(Health(SERVICE).Watch(named(""), Unread()))
