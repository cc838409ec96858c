"""Clients that compute in process end at once by Ctrl-C, and do not grow."""

import json
import signal
import subprocess
import sys
import time

import pytest

from tests.fault_injection.extent import IS_LONG
from tests.integration.client.test_local_processes import INTERRUPTED, SCRIPT_HEAD

pytestmark = pytest.mark.faults

MAX_INTERRUPT_S = 0.2
MAX_GROWTH_MIB = 2
CALLED = """
import random
import psutil

chance = random.Random(0)
letters = "abcdefghijklmnopqrstuvwxyz"
small = (["hello", "eolll", "lleel"], {"hidden_size": 2})

def mixed():
    words = ["".join(chance.choices(letters, k=chance.randint(1, 30))) for _ in range(chance.randint(1, 40))]
    options = {"hidden_size": chance.choice([4, 64]), "cell": chance.choice(["rnn", "lstm", "gru"])}
    options |= {"seed": chance.randrange(3), "output": chance.choice(["all", "max"]), "alphabet": letters}
    return words, options

calls = [small] if sys.argv[2] == "small" else [mixed() for _ in range(1_000)]
few, many = int(sys.argv[3]), int(sys.argv[4])
sizes = []

def note(at):
    if at in (few - 1, many - 1):
        sizes.append(psutil.Process().memory_info().rss / 2**20)

async def call_async(client):
    for at in range(many):
        words, options = calls[at % len(calls)]
        await client.forward(words, **options)
        note(at)

with_client = kind.local(compute_threads=1)
if kind is AsyncClient:
    asyncio.run(call_async(with_client))
else:
    for at in range(many):
        words, options = calls[at % len(calls)]
        with_client.forward(words, **options)
        note(at)
asked(with_client.close())
print(json.dumps(sizes))
"""


@pytest.mark.parametrize("call", ["forward", "parts", "map", "sweep"])
@pytest.mark.parametrize("kind", ["Client", "AsyncClient"])
def test_ctrl_c_ends_a_call_at_once(report, kind, call):
    command = [sys.executable, "-c", SCRIPT_HEAD + INTERRUPTED, kind, call]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "computing\n"
            time.sleep(0.5)
            started_s = time.monotonic()
            process.send_signal(signal.SIGINT)
            assert process.stdout.readline() == "interrupted\n"
            interrupted_s = time.monotonic() - started_s
            assert process.stdout.read() == "True\n"
        finally:
            process.kill()
    report(interrupted_s=interrupted_s)
    assert interrupted_s <= MAX_INTERRUPT_S


@pytest.mark.parametrize("shapes", ["small", "mixed"])
@pytest.mark.parametrize("kind", ["Client", "AsyncClient"])
def test_a_client_does_not_grow(report, kind, shapes):
    """Its resident size after ten times as many calls is the same."""
    many = 100_000 if IS_LONG else 20_000
    command = [sys.executable, "-c", SCRIPT_HEAD + CALLED, kind, shapes, str(many // 10), str(many)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=280)
    few_mib, many_mib = json.loads(done.stdout)
    report(calls=many, resident_mib=many_mib, growth_mib=many_mib - few_mib)
    assert many_mib - few_mib <= MAX_GROWTH_MIB
