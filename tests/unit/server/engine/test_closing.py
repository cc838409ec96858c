"""Closed engines leave neither threads nor memory; a forked child makes engines of its own."""

import subprocess
import sys
import weakref
from pathlib import Path

import pytest
from unrolled_server.engine import Engine, core, threads

from .run_jobs import job

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads in /proc")

# What the scripts below have in common. The system lists a thread for some microseconds after it ended.
COMMON = """
import hashlib, os, random, sys, threading, time
from unrolled_server.engine import Alphabet, Engine, Job, plain_network

def job(seed, hidden_size=256):
    rng = random.Random(seed)
    words = ["".join(rng.choices("abcdefgh", k=20)) for _ in range(100)]
    return Job(network=plain_network(8, hidden_size, seed), words=Alphabet.of("abcdefgh").encode(words))

def compute(engine, *seeds):
    return [hashlib.sha256(engine.run_one(job(seed)).values).digest() for seed in seeds]

def resident_bytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def has_threads(count):
    deadline_s = time.monotonic() + 10
    while len(os.listdir("/proc/self/task")) != count and time.monotonic() < deadline_s:
        time.sleep(0)
    return len(os.listdir("/proc/self/task")) == count

THREADS = len(os.listdir("/proc/self/task"))
"""

CLOSE = """
compute(Engine(device="cpu"), 0)  # what the first engine of a process loads stays
before = resident_bytes()
for threads in (3, 2):
    engine = Engine(device="cpu", threads=threads)
    compute(engine, *range(20))
    assert has_threads(THREADS + threads - 1)
    assert resident_bytes() > before + 20 * 2**20
    engine.close()
    assert has_threads(THREADS)
    assert resident_bytes() < before + 6 * 2**20, (resident_bytes(), before)
"""

COLLECT = """
engine = Engine(device="cpu", threads=2)
compute(engine, 0)
assert has_threads(THREADS + 1)
del engine
assert has_threads(THREADS)
"""

EXIT = """
engine = Engine(device="cpu", threads=2)
compute(engine, 0)
threading.Thread(target=lambda: compute(engine, *range(1, 100_000)), daemon=True).start()
"""

# One thread computes, another one makes and closes engines, and the main thread forks.
FORK = """
def repeat(function):
    while not is_done:
        function()

def make_and_close():
    engine = Engine(device="cpu", threads=3)
    compute(engine, 1)
    engine.close()

is_done = False
parent = Engine(device="cpu", threads=2, state_memory_bytes=2**25)
expected = compute(parent, 1, 2)
workers = [
    threading.Thread(target=repeat, args=[function], daemon=True)
    for function in (lambda: compute(parent, *range(9)), make_and_close)
]
for worker in workers:
    worker.start()
for _ in range(int(sys.argv[1])):
    child = os.fork()
    if child == 0:
        engine = Engine(device="cpu", threads=2)
        is_right = [compute(engine, 1, 2) == expected, has_threads(2), engine.close() or has_threads(1)]
        os._exit(is_right.index(False) + 1 if False in is_right else 0)
    assert os.waitpid(child, 0) == (child, 0)
is_done = True
for worker in workers:
    worker.join()
assert compute(parent, 1, 2) == expected
"""


def run(script, *arguments):
    command = [sys.executable, "-c", COMMON + script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=250)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_closed_engine_leaves_neither_threads_nor_memory():
    run(CLOSE)


def test_a_collected_engine_counts_as_closed():
    run(COLLECT)


def test_a_process_ends_while_an_engine_computes():
    run(EXIT)


@pytest.mark.parametrize("children", ["10", pytest.param("500", marks=pytest.mark.long)])
def test_a_child_forked_while_engines_compute_gives_the_same_bits(children):
    run(FORK, children)


def test_a_closed_engine_refuses_jobs():
    engine = Engine(device="cpu")
    engine.run_one(job(["a"]))
    engine.close()
    engine.close()
    assert (engine.network_count, engine.held_bytes) == (0, 0)
    with pytest.raises(RuntimeError, match="this engine is closed; make another one"):
        engine.run_one(job(["a"]))
    with pytest.raises(RuntimeError, match="this engine is closed; make another one"):
        next(engine.run([job(["a"]), job(["b"])]))


@pytest.fixture
def thread_counts(monkeypatch):
    """The numbers of threads that are set, as if no engine were open."""
    monkeypatch.setattr(threads, "_claims", {})
    monkeypatch.setattr(core, "keep_released", lambda limit_bytes: counts.append("released"))
    counts = []
    monkeypatch.setattr(core, "set_threads", counts.append)
    return counts


def test_the_engine_with_the_most_threads_counts_until_it_is_closed(thread_counts):
    first, second = Engine(device="cpu", threads=2), Engine(device="cpu", threads=4)
    third = Engine(device="cpu", threads=1)
    assert thread_counts[::2] == [2, 4]
    thread_counts.clear()
    third.close()
    second.close()
    assert thread_counts == [4, 2]
    first.close()
    assert thread_counts == [4, 2, 1, "released"]


def test_measuring_leaves_the_number_of_threads_as_it_was(thread_counts):
    engine, other = Engine(device="cpu", threads=2), Engine(device="cpu", threads=3)
    thread_counts.clear()
    engine.multiplications_per_s(threads=1)
    assert [count for count in thread_counts if count != "released"] == [1, 3]
    other.close()


def test_closing_keeps_no_engine_alive():
    engine = Engine(device="cpu")
    reference = weakref.ref(engine)
    engine.close()
    del engine
    assert reference() is None
