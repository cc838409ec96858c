"""Ctrl-C during a bulk call, in a process that gets the signal."""

import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from unrolled_client import Client

from tests.support import long_calls
from tests.support.processes import TIMEOUT_S

SCRIPT = """
import asyncio, sys, threading
from unrolled_client import AsyncClient, Client

kind, call, target = sys.argv[1:]
words = [f"{number:05d}" for number in range(30_000)]
sizes = {"hidden_sizes": [64], "seeds": [0]} if call == "sweep" else {"hidden_size": 64}
arguments = {"alphabet": "0123456789", **sizes}
given = [words] if call == "map" else words

async def run(client):
    called = getattr(client, call)(given, **arguments)
    if call == "forward":
        return await called
    return [one async for one in called]

def interrupted(client):
    if kind == "AsyncClient":
        return asyncio.run(run(client))
    return list(getattr(client, call)(given, timeout_s=60, **arguments))

client = (AsyncClient if kind == "AsyncClient" else Client)(target)
try:
    interrupted(client)
except KeyboardInterrupt:
    print("interrupted")
async def usable():
    return await client.server_info()
info = asyncio.run(usable()) if kind == "AsyncClient" else client.server_info()
print(info.limits.max_words)
for thread in threading.enumerate():
    if thread.name == "unrolled-timeout":
        thread.join()
"""


@pytest.mark.parametrize("call", ["forward", "map", "sweep"])
@pytest.mark.parametrize("kind", ["Client", "AsyncClient"])
def test_ctrl_c_ends_a_bulk_call_and_leaves_its_client_usable(serve_stream, reply_to, kind, call):
    """It ends by KeyboardInterrupt, the server sees its stream cancelled, and no thread stays."""
    is_waiting, is_cancelled = threading.Event(), threading.Event()

    def answer(requests, context):
        context.add_callback(is_cancelled.set)
        yield reply_to(next(requests))
        is_waiting.set()
        is_cancelled.wait(timeout=TIMEOUT_S)

    command = [sys.executable, "-c", SCRIPT, kind, call, serve_stream(answer)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert is_waiting.wait(timeout=TIMEOUT_S)
        process.send_signal(signal.SIGINT)
        printed, errors = process.communicate(timeout=TIMEOUT_S)
    assert (printed.split(), errors, process.returncode) == (["interrupted", "65536"], "", 0)
    assert is_cancelled.is_set()


def test_ctrl_c_while_a_call_starts_its_thread_ends_that_thread(monkeypatch):
    """`start` waits for the new thread, so that a signal may come when it runs."""
    started, start = [], threading.Thread.start

    def interrupted(thread):
        start(thread)
        started.append(thread)
        raise KeyboardInterrupt

    with Client("localhost:1") as client:
        monkeypatch.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            list(client.map([["a"]], hidden_size=2, alphabet="a", timeout_s=TIMEOUT_S))
    (thread,) = started
    thread.join(timeout=TIMEOUT_S)
    assert not thread.is_alive()


def test_ctrl_c_while_a_call_takes_the_lock_leaves_the_client_usable(monkeypatch):
    """`acquire` waits for the GIL once it has the lock, so that a signal may come meanwhile."""

    class InterruptedLock:
        def __init__(self, lock):
            self.release = lock.release
            self._lock = lock

        def acquire(self, **timeout):
            self._lock.acquire(**timeout)
            raise KeyboardInterrupt

    with Client.local() as client, ThreadPoolExecutor() as threads:
        service = client._in_process._service
        with monkeypatch.context() as patch:
            patch.setattr(service, "_lock", InterruptedLock(service._lock))
            with pytest.raises(KeyboardInterrupt):
                client.forward(["ab"], hidden_size=2)
        called = threads.submit(client.forward, ["ab"], hidden_size=2, timeout_s=TIMEOUT_S)
        assert called.result().outputs.shape == (1, 2, 2)


def test_ctrl_c_while_a_call_in_process_starts_its_thread_stops_the_call(monkeypatch):
    with Client.local(**long_calls.SETTINGS) as client:
        service = client._in_process._service
        calls, start = [], service._start

        def interrupted(call):
            calls.append(call)
            start(call)
            raise KeyboardInterrupt

        monkeypatch.setattr(service, "_start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            client.forward(long_calls.WORDS, **long_calls.NETWORK)
        assert [call.stop.flag.value for call in calls] == [1]
