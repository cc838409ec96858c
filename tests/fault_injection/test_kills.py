"""No reply is wrong or lost when workers are killed or the server stops under load."""

import itertools
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field

import grpc
import numpy as np
import psutil
import pytest
from unrolled.v1 import forward_pb2 as pb
from unrolled.v1.forward_pb2_grpc import ForwardServiceStub
from unrolled_client import Client, UnrolledError
from unrolled_server.engine import Engine
from unrolled_server.settings import Settings
from unrolled_server.validation.request import RequestValidator

from tests.fault_injection import extent
from tests.support.processes import TIMEOUT_S, address_in, process

pytestmark = pytest.mark.faults

DURATION_S = max(3.0, extent.seconds())
KILL_EVERY_S = min(5.0, DURATION_S / 3)
LETTERS = "abcdefghijklmnopqrstuvwxyz"
# Words and units. The last have replies of megabytes, so that some workers die while sending one.
SIZES = ((3, 2), (3, 2), (3, 2), (8, 16), (64, 256), (512, 256))
MAPPED_SIZE = (8, 16)
CALLERS = 4
# Each channel has its own connection, so that the system distributes them over the workers.
OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1))
FLAGS = ("--address", "127.0.0.1:0", "--device", "cpu", "--workers", "2")


@dataclass(frozen=True)
class Case:
    """A call, and the expected bytes, from an engine that has computed nothing else."""

    words: list[str]
    network: dict[str, object]
    expected: bytes

    @property
    def request(self):
        return pb.ForwardRequest(words=self.words, **self.network)


@dataclass
class Count:
    """Counts the results of calls from many threads."""

    calls: int = 0
    wrong: int = 0
    refused: int = 0
    lost: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, case, values):
        with self.lock:
            self.calls += 1
            self.wrong += values.tobytes() != case.expected

    def lose(self, error):
        with self.lock:
            self.calls += 1
            self.lost.append(str(error))

    def refuse(self):
        """Counts a call that the server refused because it was stopping."""
        with self.lock:
            self.refused += 1


def make_case(chance, size, *, seed):
    word_count, hidden_size = size
    words = ["".join(chance.choices(LETTERS, k=chance.randint(1, 8))) for _ in range(word_count)]
    case = Case(words, {"hidden_size": hidden_size, "seed": seed, "alphabet": LETTERS}, b"")
    job = RequestValidator(Settings().limits()).validate(case.request.SerializeToString()).job
    return Case(case.words, case.network, next(Engine(device="cpu").run([job])).values.tobytes())


@pytest.fixture(scope="module")
def cases():
    chance = random.Random(0)
    return [make_case(chance, chance.choice(SIZES), seed=chance.randrange(3)) for _ in range(60)]


@pytest.fixture(scope="module")
def mapped_cases():
    chance = random.Random(1)
    return [make_case(chance, MAPPED_SIZE, seed=0) for _ in range(60)]


def call_until(stop, address, cases, count):
    """Makes one call after another through the SDK."""
    chance = random.Random()
    with Client(address, options=OPTIONS) as client:
        while not stop.is_set():
            case = chance.choice(cases)
            try:
                count.answer(case, client.forward(case.words, **case.network).outputs)
            except UnrolledError as error:
                count.lose(error)


def map_until(stop, address, cases, count):
    """Runs one long stream through the SDK."""
    endless = itertools.takewhile(lambda _: not stop.is_set(), itertools.cycle(cases))
    with Client(address, options=OPTIONS) as client:
        batches = (case.words for case in endless)
        for outcome in client.map(batches, **cases[0].network):
            case = cases[outcome.index % len(cases)]
            try:
                count.answer(case, outcome.result.outputs)
            except UnrolledError as error:
                count.lose(error)


def connections_to(worker):
    """Returns the number of connections of a worker."""
    return sum(connection.status == psutil.CONN_ESTABLISHED for connection in worker.net_connections("tcp"))


def wait_until_replaced(server):
    """Reads the log until the next worker serves."""
    while "serves" not in server.stderr.readline():
        assert server.poll() is None


def kill_workers(server):
    """Kills a worker at intervals; returns the number of kills and of cut connections."""
    begin_s, never = time.monotonic(), threading.Event()
    kills = cut = 0
    for kill_s in np.arange(KILL_EVERY_S, DURATION_S, KILL_EVERY_S):
        never.wait(begin_s + kill_s - time.monotonic())
        victim = random.choice(psutil.Process(server.pid).children())
        cut += connections_to(victim)
        victim.kill()
        kills += 1
        wait_until_replaced(server)
    return kills, cut


def test_killed_workers_cost_no_answer_and_no_bit(cases, mapped_cases, report):
    """One of two workers is killed again and again (SIGKILL): 0 wrong replies, 0 lost calls after retries."""
    called, mapped, stop = Count(), Count(), threading.Event()
    with process(*FLAGS) as server, ThreadPoolExecutor() as pool:
        address = address_in(server.stdout.readline())
        loads = [pool.submit(call_until, stop, address, cases, called) for _ in range(CALLERS)]
        loads.append(pool.submit(map_until, stop, address, mapped_cases, mapped))
        wait_until_replaced(server)
        wait_until_replaced(server)
        try:
            kills, cut = kill_workers(server)
        finally:
            stop.set()
        for load in loads:
            load.result()
        server.send_signal(signal.SIGTERM)
        assert server.wait(TIMEOUT_S) == 0
    report(
        calls=called.calls,
        batches=mapped.calls,
        kills=kills,
        cut_connections=cut,
        wrong=called.wrong + mapped.wrong,
        lost=len(called.lost) + len(mapped.lost),
    )
    assert kills
    assert (called.wrong, called.lost) == (0, [])
    assert (mapped.wrong, mapped.lost) == (0, [])


def sent_calls(channel, cases):
    """Starts calls and returns them once the server has answered a later one.

    By then most are accepted, but not necessarily all: on a busy machine the server may receive a small
    message before a larger one that was sent earlier.
    """
    stub = ForwardServiceStub(channel)
    calls = [(case, stub.Forward.future(case.request)) for case in cases]
    stub.GetServerInfo(pb.GetServerInfoRequest())
    return calls


def is_refusal(error):
    """Returns whether the server reports that it did not accept the call."""
    return error.code() is grpc.StatusCode.UNAVAILABLE and "the server is shutting down" in error.details()


def stop_under_load(cases, count):
    """Starts a server, sends calls on many connections, and stops it; returns its exit code."""
    with process(*FLAGS) as server, ExitStack() as stack:
        address = address_in(server.stdout.readline())
        channels = [stack.enter_context(grpc.insecure_channel(address, options=OPTIONS)) for _ in range(8)]
        sent = [sent_calls(channel, random.sample(cases, 12)) for channel in channels]
        server.send_signal(signal.SIGTERM)
        for case, call in itertools.chain(*sent):
            try:
                count.answer(case, np.array(call.result(TIMEOUT_S).values, np.float32))
            except grpc.RpcError as error:
                count.refuse() if is_refusal(error) else count.lose(error)
        return server.wait(TIMEOUT_S)


def test_a_server_that_stops_under_load_answers_all_accepted_calls(cases, report):
    """SIGTERM under load: every accepted request is answered, with its bits; exit code 0."""
    end_s = time.monotonic() + DURATION_S
    count, exit_codes = Count(), []
    while not exit_codes or time.monotonic() < end_s:
        exit_codes.append(stop_under_load(cases, count))
    report(
        servers=len(exit_codes),
        accepted=count.calls,
        refused=count.refused,
        wrong=count.wrong,
        lost=len(count.lost),
    )
    assert count.calls
    assert (count.wrong, count.lost) == (0, [])
    assert set(exit_codes) == {0}
