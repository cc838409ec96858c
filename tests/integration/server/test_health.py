"""Health is told to those who ask and to those who watch, and no watcher holds up the server's end."""

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
    """A call whose client takes nothing."""

    async def write(self, _message):
        await asyncio.Event().wait()


def asking(ask):
    """Runs `ask(stub, health)` against a server of its own."""

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


def test_a_server_serves_until_it_drains_and_knows_itself_and_its_service():
    async def ask(stub, servicer):
        for status in (SERVING, NOT_SERVING):
            for name in ("", SERVICE):
                assert (await stub.Check(named(name))).status == status
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Check(named("another"))
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND
            servicer.drain()

    asking(ask)


@pytest.mark.parametrize(
    ("name", "told"),
    [("", [SERVING, NOT_SERVING]), (SERVICE, [SERVING, NOT_SERVING]), ("another", [UNKNOWN])],
)
def test_a_watcher_is_told_when_the_server_drains_and_then_let_go(name, told):
    async def ask(stub, servicer):
        statuses = []
        async for response in stub.Watch(named(name)):
            statuses.append(response.status)
            servicer.drain()
        assert statuses == told

    asking(ask)


def test_a_watcher_that_does_not_read_is_given_up(monkeypatch):
    monkeypatch.setattr(health, "SEND_TIMEOUT_S", 0.01)
    asyncio.run(Health(SERVICE).Watch(named(""), Unread()))
