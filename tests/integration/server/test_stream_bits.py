"""Replies on streams have the bits of separately computed requests, in either form."""

import asyncio

import grpc.aio
import pytest
from unrolled.v1 import forward_pb2 as pb
from unrolled.v1.wire import split_reply
from unrolled_server.embedded import running_server
from unrolled_server.rpc.service import SERVICE_NAME
from unrolled_server.settings import Settings

from tests.soak.soak_bits import bits_of, make_cases

STREAMS = 4


@pytest.fixture(scope="module")
def cases():
    return make_cases(40, seed=3)


def request_of(case, place):
    request = pb.ForwardRequest.FromString(case.request)
    request.id = str(place)
    if place % 2 and request.output <= pb.OUTPUT_ALL:
        request.reply_form = pb.REPLY_FORM_DISTINCT
    return request.SerializeToString()


async def ask(address, cases):
    options = [("grpc.max_receive_message_length", -1)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        call = channel.stream_stream(f"/{SERVICE_NAME}/ForwardStream")

        async def one_stream(first):
            places = list(range(first, len(cases), STREAMS)) * 3
            replies = call(iter([request_of(cases[place], place) for place in places]))
            return [(split_reply(data).rest.id, bits_of(data)) async for data in replies]

        return [
            reply for replies in await asyncio.gather(*map(one_stream, range(STREAMS))) for reply in replies
        ]


@pytest.mark.parametrize("state_memory_mb", [1, pytest.param(1024, marks=pytest.mark.long)])
def test_replies_on_streams_have_the_bits_of_separate_requests(cases, state_memory_mb):
    settings = Settings(
        address="127.0.0.1:0", device="cpu", state_memory_mb=state_memory_mb, max_queue_s=3_600
    )
    with running_server(settings) as server:
        replies = asyncio.run(ask(server.address, cases))
    assert len(replies) == 3 * len(cases)
    assert all(bits == cases[int(name)].expected for name, bits in replies)
    assert (server.admission.held_bytes, server.admission.reservation_count) == (0, 0)
