"""Replicas on two nodes return the plain server's bits, also while one is killed or replaced."""

import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from unrolled_client import Client
from unrolled_server.embedded import running_server
from unrolled_server.settings import Settings

from tests.fault_injection.test_kills import Count, call_until, make_case, map_until

pytestmark = pytest.mark.ray

SIZES = ((3, 2), (8, 16), (64, 256), (512, 256))
BEFORE_S, AFTER_S = 1.0, 3.0


@pytest.fixture(scope="module")
def cases():
    chance = random.Random(2)
    return [make_case(chance, SIZES[at % len(SIZES)], seed=chance.randrange(3)) for at in range(40)]


def test_the_fingerprint_and_the_bits_are_the_plain_servers(server_address, cases):
    """Unary and streamed replies of all replicas equal those of an engine in this process."""
    with (
        running_server(Settings(address="127.0.0.1:0", device="cpu")) as plain,
        Client(plain.address) as plain_client,
        Client(server_address) as client,
    ):
        assert client.server_info().fingerprint == plain_client.server_info().fingerprint
        for case in cases:
            answered = client.forward(case.words, **case.network)
            expected = plain_client.forward(case.words, **case.network)
            assert answered.outputs.tobytes() == expected.outputs.tobytes() == case.expected
            (streamed,) = client.map([case.words], **case.network)
            assert streamed.result.outputs.tobytes() == case.expected


def test_both_replicas_answer_each_on_its_own_node(ray_cluster):
    before = ray_cluster.answered_counts()
    answering, end = set(), time.monotonic() + 60  # a killed replica may not be back yet
    with Client(ray_cluster.address) as client, ThreadPoolExecutor(8) as callers:
        while len(answering) < 2 and time.monotonic() < end:
            list(callers.map(lambda seed: client.forward(["node"], hidden_size=64, seed=seed), range(50)))
            now = ray_cluster.answered_counts()
            answering = {name for name, count in now.items() if count > before.get(name, 0)}
    assert len(answering) == 2
    assert len({replica.ppid() for replica in ray_cluster.replicas}) == 2  # Ray's own processes of two nodes


@contextmanager
def under_load(address, cases):
    """Runs three callers and a stream through the SDK during the block; yields the count of their results."""
    count, stop = Count(), threading.Event()
    mapped = [case for case in cases if case.network == cases[0].network]
    callers = [
        *(threading.Thread(target=call_until, args=(stop, address, cases, count)) for _ in range(3)),
        threading.Thread(target=map_until, args=(stop, address, mapped, count)),
    ]
    for caller in callers:
        caller.start()
    time.sleep(BEFORE_S)  # so that calls are in flight
    try:
        yield count
    finally:
        stop.set()
        for caller in callers:
            caller.join()
    assert count.calls > len(callers)


def replaced(cluster, before):
    """Returns whether these replicas are replaced by two others within two minutes."""
    gone, end = {replica.pid for replica in before}, time.monotonic() + 120
    while time.monotonic() < end:
        pids = {replica.pid for replica in cluster.replicas}
        if len(pids) == 2 and not pids & gone:
            return True
        time.sleep(0.2)
    return False


def test_a_replica_that_is_killed_under_load_costs_no_answer(ray_cluster, cases):
    """0 wrong and 0 lost after the SDK's retries, unary and streamed; a new replica starts."""
    before = ray_cluster.replicas
    with under_load(ray_cluster.address, cases) as count:
        before[0].send_signal(signal.SIGKILL)
        before[0].wait(10)
        time.sleep(AFTER_S)
    assert (count.wrong, count.lost) == (0, [])
    assert replaced(ray_cluster, before[:1])


def test_an_update_under_load_costs_no_answer(ray_cluster, cases):
    """Replaced replicas finish their calls; a stream that does not end is cut, and continues elsewhere."""
    before = ray_cluster.replicas
    with under_load(ray_cluster.address, cases) as count:
        ray_cluster.update(reply_memory_mb=15)  # a change without effect on other tests
        assert replaced(ray_cluster, before)
    assert (count.wrong, count.lost) == (0, [])
