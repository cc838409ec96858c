"""Bulk calls keep what is done when their server is killed, and end at once by Ctrl-C."""

import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from unrolled.v1 import forward_pb2 as pb
from unrolled_client import Client
from unrolled_client._streaming.exchange import Exchange

from tests.fault_injection.server_process import ServerProcess
from tests.support.client_fixtures import BlockingAsyncClient
from tests.support.processes import TIMEOUT_S

pytestmark = pytest.mark.faults

LETTERS = "abcdefghijklmnopqrstuvwxyz"
NETWORK = {"cell": "lstm", "bidirectional": True, "output": "max", "alphabet": LETTERS}
MAX_INTERRUPT_S = 0.2


def random_words(count, *, length=60):
    codes = np.random.default_rng(0).integers(0, 26, (count, length)) + ord("a")
    return [bytes(word.tolist()).decode() for word in codes]


def forward(client):
    return [client.forward(random_words(6_000), hidden_size=128, timeout_s=TIMEOUT_S, **NETWORK)]


def map_batches(client):
    words = random_words(6_000)
    batches = [words[at : at + 50] for at in range(0, len(words), 50)]
    return [outcome.result for outcome in client.map(batches, hidden_size=128, **NETWORK)]


def sweep(client):
    return list(client.sweep(random_words(200), hidden_sizes=[128], seeds=range(30), **NETWORK))


@pytest.fixture
def sent_and_done(monkeypatch):
    """The ids of the requests that were sent, in order, and of those that have a reply."""
    sent, done = [], []
    next_request, receive_reply = Exchange.next_request, Exchange.receive_reply

    def recorded_request(exchange, *, now_s):
        request = next_request(exchange, now_s=now_s)
        if request is not None:
            sent.append(pb.ForwardRequest.FromString(request.data).id)
            assert sent[-1] not in done
        return request

    def recorded_reply(exchange, reply, *, now_s):
        receive_reply(exchange, reply, now_s=now_s)
        if not reply.rest.HasField("error"):
            done.append(reply.rest.id)

    monkeypatch.setattr(Exchange, "next_request", recorded_request)
    monkeypatch.setattr(Exchange, "receive_reply", recorded_reply)
    return sent, done


@pytest.mark.parametrize("call", [forward, map_batches, sweep])
@pytest.mark.parametrize("kind", [Client, BlockingAsyncClient])
def test_a_killed_server_costs_a_bulk_call_only_what_it_computed_then(report, sent_and_done, kind, call):
    """Its successor on the same port is asked for nothing that is done; the bits are those of one server."""
    sent, done = sent_and_done
    with (
        ThreadPoolExecutor(1) as pool,
        ServerProcess("--compute-threads", "1") as first,
        kind(first.address) as client,
    ):
        calling = pool.submit(call, client)
        while len(done) < 2:
            assert not calling.done()
            time.sleep(0.01)
        first.popen.kill()
        first.popen.wait()
        assert not calling.done()
        with ServerProcess("--address", first.address):
            results = calling.result()
            done_count, repeated = len(done), len(sent) - len(set(sent))
            assert len(done) == len(set(done)) == len(set(sent))
            done.clear()
            expected = call(client)
    assert [result.outputs.tobytes() for result in results] == [
        result.outputs.tobytes() for result in expected
    ]
    report(client=kind.__name__, call=call.__name__, parts=done_count, sent_again=repeated)


SCRIPT = """
import asyncio, sys, time
from unrolled_client import AsyncClient, Client
from tests.fault_injection import test_bulk_calls as calls

kind, call, target = sys.argv[1:]

async def run():
    async with AsyncClient(target) as client:
        if call == "forward":
            return await client.forward(calls.random_words(20_000), hidden_size=256, **calls.NETWORK)
        if call == "map_batches":
            batches = [calls.random_words(500)] * 100
            return [one async for one in client.map(batches, hidden_size=256, **calls.NETWORK)]
        return [one async for one in client.sweep(
            calls.random_words(500), hidden_sizes=[256], seeds=range(100), **calls.NETWORK)]

try:
    if kind == "AsyncClient":
        asyncio.run(run())
    else:
        with Client(target) as client:
            getattr(calls, call)(client)
except KeyboardInterrupt:
    print(time.monotonic())
"""


@pytest.mark.parametrize("call", [forward, map_batches, sweep])
@pytest.mark.parametrize("kind", ["Client", "AsyncClient"])
def test_ctrl_c_ends_a_bulk_call_at_once_and_its_work_on_the_server(report, kind, call):
    """It takes a fifth of a second at most, and so does the job that the server computes for it."""
    with ServerProcess("--compute-threads", "1") as server:
        idle_s = server.cpu_s()
        command = [sys.executable, "-c", SCRIPT, kind, call.__name__, server.address]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            while server.cpu_s() < idle_s + 0.5:
                assert process.poll() is None
                time.sleep(0.01)
            begin_s = time.monotonic()
            process.send_signal(signal.SIGINT)
            printed, _ = process.communicate(timeout=TIMEOUT_S)
        taken_s = float(printed) - begin_s
        time.sleep(MAX_INTERRUPT_S)
        stopped_s = server.cpu_s()
        time.sleep(0.5)
        assert server.cpu_s() - stopped_s < 0.1
    report(client=kind, call=call.__name__, interrupt_ms=taken_s * 1e3)
    assert taken_s < MAX_INTERRUPT_S
