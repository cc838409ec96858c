"""Clients that compute in process: signals, forks and leaks, each in a separate process."""

import json
import operator
import signal
import subprocess
import sys

import pytest

from tests.support.processes import TIMEOUT_S

SCRIPT_HEAD = """
import asyncio, inspect, json, operator, os, sys, threading, time
import numpy as np
from unrolled_client import AsyncClient, Client, ClosedError
from tests.support import long_calls

kind = {"Client": Client, "AsyncClient": AsyncClient}[sys.argv[1]]

def asked(made):
    async def collect():
        return await made if inspect.iscoroutine(made) else [one async for one in made]
    if inspect.iscoroutine(made) or hasattr(made, "__aiter__"):
        return asyncio.run(collect())
    return list(made) if hasattr(made, "__next__") else made

def states(client):
    return asked(client.forward(["hello", "help"], hidden_size=16)).outputs.tobytes()
"""
INTERRUPTED = """
words, network = long_calls.WORDS, dict(long_calls.NETWORK)
calls = {
    "forward": lambda client: client.forward(words, **network),
    "parts": lambda client: client.forward(words * 20, **network),
    "map": lambda client: client.map([words[:1]] * 100 + [words], **network),
    "sweep": lambda client: client.sweep(words, hidden_sizes=[1024, 8], seeds=[0, 1], **network),
}
if sys.argv[2] == "sweep":
    del network["hidden_size"]
client = kind.local(**long_calls.SETTINGS)
expected = states(client)
is_computing = long_calls.computing(client)
threading.Thread(target=lambda: is_computing.wait() and print("computing", flush=True)).start()
try:
    asked(calls[sys.argv[2]](client))
except KeyboardInterrupt:
    print("interrupted", flush=True)
print(states(client) == expected)
asked(client.close())
"""
FORKED = """
client = kind.local(**long_calls.SETTINGS)
expected = states(client)
is_computing, ends = long_calls.computing(client), []

def compute():
    try:
        asked(client.forward(long_calls.WORDS, **long_calls.NETWORK))
    except ClosedError as error:
        ends.append(error)

thread = threading.Thread(target=compute)
thread.start()
is_computing.wait()
children = []
for _ in range(3):
    children.append(os.fork())
    if not children[-1]:
        is_equal = states(client) == expected
        asked(client.close())
        os._exit(0 if is_equal else 1)
codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
asked(client.close())
thread.join()
print(json.dumps([codes, len(ends)]))
"""
LEFT = """
def held():
    return [len(threading.enumerate()), *(len(os.listdir(f"/proc/self/{kind}")) for kind in ("task", "fd"))]

def use():
    client = kind.local(compute_threads=2)
    asked(client.forward(["hello", "help"] * 300, hidden_size=300))
    asked(client.forward(["hello", "help"], hidden_size=900, cell="lstm"))
    asked(client.map([["hello"]] * 3, hidden_size=2, alphabet="helo"))
    asked(client.close())

use()
before = held()
for _ in range(5):
    use()
until_s = time.monotonic() + 10
while any(map(operator.gt, held(), before)) and time.monotonic() < until_s:
    pass  # the thread of the last call may still be ending
print(json.dumps([before, held(), os.listdir(os.environ["HOME"])]))
"""
IMPORTED = """
client = kind.local()
states(client)
print(json.dumps(sorted(sys.modules)))
"""


def run(script, *arguments, env=None):
    """Returns what a script prints as JSON; nothing may be on its standard error."""
    command = [sys.executable, "-W", "error", "-c", SCRIPT_HEAD + script, *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    done = subprocess.run(command, **pipes, timeout=TIMEOUT_S, check=False, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


@pytest.mark.parametrize("call", ["forward", "parts", "map", "sweep"])
@pytest.mark.parametrize("kind", ["Client", "AsyncClient"])
def test_ctrl_c_ends_a_call_and_leaves_its_client_usable(kind, call):
    command = [sys.executable, "-c", SCRIPT_HEAD + INTERRUPTED, kind, call]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "computing\n"
            process.send_signal(signal.SIGINT)
            printed, errors = process.communicate(timeout=TIMEOUT_S)
        finally:
            process.kill()
    assert (printed, errors, process.returncode) == ("interrupted\nTrue\n", "", 0)


@pytest.mark.parametrize("kind", ["Client", "AsyncClient"])
def test_forked_children_compute_by_themselves_while_the_parent_does(kind):
    """Children end as they should, with the parent's bits; the parent's call goes on until its close."""
    assert run(FORKED, kind) == [[0, 0, 0], 1]


@pytest.mark.parametrize("kind", ["Client", "AsyncClient"])
def test_nothing_is_left_after_close(kind, tmp_path):
    """No thread, neither Python's nor the core's, no file descriptor, and no file."""
    before, after, files = run(LEFT, kind, env={"HOME": str(tmp_path), "TMPDIR": str(tmp_path)})
    assert all(map(operator.le, after, before))
    assert files == []


def test_computing_imports_neither_torch_nor_what_only_a_server_needs():
    packages = {"torch", "pydantic", "structlog", "grpc_health.v1", "h2", "prometheus_client"}
    parts = {"rpc", "transport", "scheduling", "settings", "process", "observability", "security"}
    unwanted = packages | {f"unrolled_server.{part}" for part in parts}
    assert unwanted.intersection(run(IMPORTED, "Client")) == set()
