"""Requests whose deadline passes in the queue are not computed."""

import asyncio
import math
import random
from collections import Counter

import grpc
import grpc.aio
import pytest
from unrolled.v1 import forward_pb2 as pb
from unrolled_server.embedded import running_server
from unrolled_server.scheduling.compute_thread import MAX_BATCH_S
from unrolled_server.scheduling.cost_model import MIN_SHARED_S
from unrolled_server.settings import Settings

from tests.fault_injection.extent import IS_LONG
from tests.fault_injection.loads import LETTERS
from tests.support.scrapes import scrape, value

pytestmark = pytest.mark.faults

FORWARD = "/unrolled.v1.ForwardService/Forward"
ONE_TRY = [("grpc.enable_retries", 0)]
HIDDEN_SIZE = 512
LETTERS_ASKED = 1_000
# The largest number of requests in a batch: on one thread each takes longer than this minimum.
BATCH = math.ceil(MAX_BATCH_S / MIN_SHARED_S)
WAVE = 150
DEADLINE_S = 0.3


def a_request(chance, *, seed=0):
    """Returns a request that takes some milliseconds if its states are new."""
    words = ["".join(chance.choices(LETTERS, k=10)) for _ in range(LETTERS_ASKED // 10)]
    return pb.ForwardRequest(
        words=words, alphabet=LETTERS, hidden_size=HIDDEN_SIZE, seed=seed, output=pb.OUTPUT_LAST
    ).SerializeToString()


async def ask(address, requests, *, timeout_s):
    """Sends all requests at once; returns the number of calls by code."""

    async def end_of(call):
        try:
            await call
        except grpc.aio.AioRpcError as error:
            return error.code().name
        return "OK"

    async with grpc.aio.insecure_channel(address, options=ONE_TRY) as channel:
        call = channel.unary_unary(FORWARD)
        return Counter(await asyncio.gather(*(end_of(call(each, timeout=timeout_s)) for each in requests)))


async def ask_in_turn(address, requests):
    """Sends the requests one after the other, with a long deadline."""
    async with grpc.aio.insecure_channel(address, options=ONE_TRY) as channel:
        for request in requests:
            await channel.unary_unary(FORWARD)(request, timeout=60)


def test_no_compute_is_spent_on_work_whose_deadline_has_passed(report):
    """The server admits requests that it cannot do in time, and drops them when their deadline passes.

    Its estimate is wrong because a network with only cached requests suddenly gets new ones.
    """
    chance, waves = random.Random(0), 20 if IS_LONG else 1
    with running_server(Settings(address="127.0.0.1:0", metrics_address="127.0.0.1:0")) as server:
        ends = Counter()
        for seed in range(waves):
            known = a_request(chance, seed=seed)
            asyncio.run(ask_in_turn(server.address, [known] * 60))
            wave = [a_request(chance, seed=seed) for _ in range(WAVE)]
            ends += asyncio.run(ask(server.address, wave, timeout_s=DEADLINE_S))
            asyncio.run(ask_in_turn(server.address, [known]))  # answered after all earlier requests
        counted = scrape(server.metrics_address)
    computed = value(counted, "unrolled_batch_jobs_sum") - 61 * waves
    dropped = {
        reason: int(value(counted, "unrolled_dropped_total", reason=reason))
        for reason in ("expired", "cancelled")
    }
    report(
        requests=WAVE * waves,
        **ends,
        computed=int(computed),
        dropped_uncomputed=sum(dropped.values()),
        batches_under_way=waves,
    )
    assert ends["OK"]
    if IS_LONG:  # otherwise the machine may be fast enough for all, or its event loop late
        assert sum(dropped.values()) > computed / 4
        # At most one batch was being computed when the deadline passed; it began in time.
        assert computed - ends["OK"] <= BATCH * waves
