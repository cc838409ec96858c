"""A client that does not read is evicted without an effect on others."""

import asyncio

import grpc
import grpc.aio
import pytest
from unrolled.v1 import forward_pb2 as pb
from unrolled.v1.forward_pb2_grpc import ForwardServiceStub
from unrolled_server.embedded import running_server
from unrolled_server.settings import Settings

OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
LARGE = pb.ForwardRequest(words=["abcdefgh" * 8] * 64, hidden_size=256)  # 4 MiB of reply
TIMEOUT_S = 1.5


async def stalled(address):
    """Sends many requests on a stream, reads nothing, and returns the status of its end."""
    async with grpc.aio.insecure_channel(address, options=OWN_CONNECTION) as channel:
        call = ForwardServiceStub(channel).ForwardStream()
        for _ in range(20):
            await call.write(LARGE)
        return await call.code()


def test_a_client_that_does_not_read_is_evicted_after_the_timeout_and_others_are_served(caplog):
    async def scenario(address):
        end = asyncio.ensure_future(stalled(address))
        async with grpc.aio.insecure_channel(address, options=OWN_CONNECTION) as channel:
            stub = ForwardServiceStub(channel)
            served = 0
            while not end.done():
                await stub.Forward(pb.ForwardRequest(words=["hello"], hidden_size=2))
                served += 1
        return await end, served

    with running_server(Settings(address="127.0.0.1:0", send_timeout_s=TIMEOUT_S)) as server:
        code, served = asyncio.run(scenario(server.address))
        assert server.admission.slow_bytes == 0
    assert code is grpc.StatusCode.UNAVAILABLE
    assert served
    (record,) = caplog.records
    assert record.getMessage().startswith("closed the connection of ipv4:127.0.0.1:")


@pytest.mark.long
def test_many_clients_that_do_not_read_are_evicted_until_they_fit():
    """Long before the timeout: each holds a few MiB, and a quarter of 16 MiB is their limit."""

    async def scenario(address):
        ends = [asyncio.ensure_future(stalled(address)) for _ in range(8)]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        gone = [end.result() for end in ends if end.done()]
        for end in ends:
            end.cancel()
        return gone

    settings = Settings(address="127.0.0.1:0", max_inflight_mb=16, send_timeout_s=3_600)
    with running_server(settings) as server:
        gone = asyncio.run(scenario(server.address))
    assert gone
    assert set(gone) == {grpc.StatusCode.UNAVAILABLE}
