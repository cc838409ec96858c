"""Servers that end and come back: no batch is lost, and no bit."""

import contextlib
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import count, cycle

import grpc
import numpy as np
import psutil
import pytest
from unrolled_client import Client, UnavailableError
from unrolled_server.embedded import running_server
from unrolled_server.settings import Settings

from tests.support.client_fixtures import BlockingAsyncClient
from tests.support.processes import TIMEOUT_S, free_address


class RestartableServer:
    """A server in a separate process that keeps its address across restarts."""

    def __init__(self):
        self.address = free_address()
        self.start()

    def start(self):
        flags = ["--address", self.address, "--device", "cpu", "--no-reflection", "--log-level", "error"]
        command = [sys.executable, "-m", "unrolled_server", *flags]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert "ready" in self.process.stdout.readline()

    def end(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        self.process.communicate(timeout=TIMEOUT_S)

    def replace(self, how):
        self.end(how)
        self.start()


@pytest.fixture
def restartable():
    server = RestartableServer()
    yield server
    server.end()


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        (Client, signal.SIGKILL),
        *(
            pytest.param(kind, how, marks=pytest.mark.long)
            for kind, how in [
                (Client, signal.SIGTERM),
                (BlockingAsyncClient, signal.SIGKILL),
                (BlockingAsyncClient, signal.SIGTERM),
            ]
        ),
    ],
)
def test_a_map_outlives_its_server(restartable, kind, how):
    """A server that dies or is told to stop in mid-stream, and comes back, costs no batch and no bit."""
    batches = [[f"{number:03d}", "x" * (number % 7 + 1)] for number in range(300)]

    def taken():
        for number, batch in enumerate(batches):
            if number == 100:
                restartable.replace(how)
            yield batch

    arguments = {"hidden_size": 64, "alphabet": "0123456789x"}
    with kind(restartable.address) as client:
        outcomes = list(client.map(taken(), **arguments))
        assert [outcome.index for outcome in outcomes] == list(range(300))
        for outcome, batch in zip(outcomes[::10], batches[::10], strict=True):
            alone = client.forward(batch, **arguments)
            assert outcome.result.outputs.tobytes() == alone.outputs.tobytes()


@pytest.mark.long
def test_a_large_call_outlives_its_server(restartable):
    """A call in parts whose server is killed meanwhile is answered by the next one, bit for bit."""
    letters = np.random.default_rng(0).integers(0, 26, (6_000, 8)) + ord("a")
    words = [bytes(word.tolist()).decode() for word in letters]
    arguments = {"hidden_size": 1_024, "alphabet": "abcdefghijklmnopqrstuvwxyz", "timeout_s": 200}
    with Client(restartable.address) as client, ThreadPoolExecutor(1) as pool:
        client.forward(["a"], **arguments)  # the network is drawn
        server = psutil.Process(restartable.process.pid)
        idle_s = sum(server.cpu_times()[:2])
        call = pool.submit(client.forward, words, **arguments)
        while sum(server.cpu_times()[:2]) < idle_s + 0.5:
            assert not call.done()
        restartable.replace(signal.SIGKILL)
        interrupted = call.result()
        assert interrupted.outputs.tobytes() == client.forward(words, **arguments).outputs.tobytes()


@pytest.fixture(scope="module")
def three_replicas():
    with ThreadPoolExecutor(3) as pool:
        servers = list(pool.map(lambda _: RestartableServer(), range(3)))
    yield servers
    for server in servers:
        server.end()


@pytest.mark.long
@pytest.mark.parametrize(
    ("spread", "kind", "how"),
    [
        ("network", Client, signal.SIGKILL),
        ("network", BlockingAsyncClient, signal.SIGTERM),
        ("round_robin", BlockingAsyncClient, signal.SIGKILL),
        ("round_robin", Client, signal.SIGTERM),
    ],
)
def test_no_call_is_lost_when_one_of_three_replicas_leaves_and_returns(three_replicas, spread, kind, how):
    """Calls of six threads and a map go on, with the same bits, while it leaves, is away and is back."""
    target = f"ipv4:{','.join(server.address for server in three_replicas)}"
    arguments = {"hidden_size": 32, "alphabet": "helo"}
    is_over = threading.Event()
    counts = Counter()

    def ask(client, first):
        for seed in cycle(range(first, first + 8)):
            assert client.forward(["hello"], seed=seed, **arguments).outputs.tobytes() == expected[seed]
            counts[seed] += 1
            if is_over.is_set():
                return

    def map_on(client):
        batches = iter(lambda: None if is_over.is_set() else ["hello"], None)
        results = [outcome.result for outcome in client.map(batches, seed=1, **arguments)]
        return {result.outputs.tobytes() for result in results}

    with kind(target, spread=spread) as client, ThreadPoolExecutor(7) as pool:
        expected = [client.forward(["hello"], seed=s, **arguments).outputs.tobytes() for s in range(13)]
        asking = [pool.submit(ask, client, first) for first in range(6)]
        mapping = pool.submit(map_on, client)
        for act in (lambda: three_replicas[0].end(how), three_replicas[0].start):
            act()
            until_each_goes_on(counts, asking)
        is_over.set()
        assert mapping.result() == {expected[1]}
        for each in asking:
            each.result()


def until_each_goes_on(counts, asking):
    """Waits until every seed was asked for again, or a caller failed."""
    before = dict(counts)
    while any(counts[seed] < before.get(seed, 0) + 10 for seed in range(13)):
        if any(each.done() for each in asking):
            return
        time.sleep(0.01)


class CuttingRelay(socketserver.ThreadingTCPServer):
    """Takes bytes to and from a server; cuts its first connections off in the middle of a reply."""

    daemon_threads = True
    REPLY_BYTES = 200_000

    def __init__(self, server_address, *, cuts):
        super().__init__(("127.0.0.1", 0), socketserver.BaseRequestHandler)
        self.address = f"127.0.0.1:{self.server_address[1]}"
        self.cuts_left = cuts
        self._host, _, self._port = server_address.rpartition(":")

    def finish_request(self, client, _address):
        with socket.create_connection((self._host, int(self._port))) as server:
            threading.Thread(target=self._carry, args=(client, server), daemon=True).start()
            self._carry(server, client, may_cut=True)

    def _carry(self, source, sink, *, may_cut=False):
        carried = 0
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                carried += len(data)
                if may_cut and self.cuts_left and carried > self.REPLY_BYTES:
                    self.cuts_left -= 1
                    break
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def relay_to(server_address, *, cuts):
    with CuttingRelay(server_address, cuts=cuts) as relay:
        serving = threading.Thread(target=relay.serve_forever)
        serving.start()
        try:
            yield relay
        finally:
            relay.shutdown()
            serving.join()


@pytest.mark.parametrize("kind", [Client, BlockingAsyncClient])
def test_a_call_whose_reply_is_cut_off_is_asked_again(server_address, kind):
    """A reply that has begun ends the retries of gRPC, so a worker that dies there would lose it."""
    words = [f"{number:04d}" for number in range(500)]
    arguments = {"hidden_size": 256, "alphabet": "0123456789"}
    with kind(server_address) as client:
        whole = client.forward(words, **arguments).outputs.tobytes()
    with relay_to(server_address, cuts=1) as relay, kind(relay.address) as client:
        assert client.forward(words, **arguments).outputs.tobytes() == whole
        assert relay.cuts_left == 0
    with (
        relay_to(server_address, cuts=100) as relay,
        kind(relay.address) as client,
        pytest.raises(UnavailableError),
    ):
        client.forward(words, **arguments)


def test_a_server_that_restarts_is_found_again(make_client):
    """A client outlives its server and uses the next one at the same address."""
    address = free_address()
    settings = Settings(address=address, reflection=False)
    with make_client(address) as client:
        for _ in range(2):
            with running_server(settings):
                assert client.forward(["ab"], hidden_size=2).outputs.shape == (1, 2, 2)
        with pytest.raises(UnavailableError):
            client.server_info(timeout_s=TIMEOUT_S)


@pytest.fixture(
    params=[
        (grpc.StatusCode.CANCELLED, "CANCELLED"),
        (grpc.StatusCode.INTERNAL, "Stream removed (RST_STREAM (Received RST_STREAM with error code 2))"),
    ]
)
def dropping_the_first(request):
    """Ends the first call as a server does that stops before it took it, or a proxy whose server died."""

    def dropping(answer):
        calls = count()

        def answer_later(asked, context):
            if not next(calls):
                context.abort(*request.param)
            return answer(asked)

        return answer_later

    return dropping


def test_a_call_that_was_dropped_on_the_way_is_asked_again(make_client, serve, reply_to, dropping_the_first):
    with make_client(serve(dropping_the_first(reply_to))) as client:
        assert client.forward(["hello"], hidden_size=2).outputs.shape == (1, 5, 2)


def test_a_stream_that_was_dropped_on_the_way_is_opened_again(
    make_client, serve_stream, reply_to, dropping_the_first
):
    answer = dropping_the_first(lambda requests: map(reply_to, requests))
    with make_client(serve_stream(answer)) as client:
        (outcome,) = client.map([["hello"]], hidden_size=2, alphabet="helo")
        assert outcome.error is None
