"""Processes whose threads gevent or eventlet has replaced: calls work there, or are refused with a reason."""

import asyncio
import subprocess
import sys
from textwrap import dedent
from types import ModuleType

import pytest
from unrolled_client import AsyncClient, InvalidRequestError

BEGIN = """
import os
import gevent
from gevent import monkey
monkey.patch_all()
from unrolled_client import AsyncClient, Client, DeadlineError, InvalidRequestError, UnavailableError
client = Client({target!r}, timeout_s=60)
expected = client.forward(["ab"], hidden_size=2, alphabet="ab").outputs
"""
CALLS = {
    "map": """
        outcomes = list(client.map([["ab"]] * 100, hidden_size=2, alphabet="ab"))
        assert all((outcome.result.outputs == expected).all() for outcome in outcomes)
        assert len(outcomes) == 100
    """,
    "a map that is left early": """
        outcomes = client.map([["ab"]] * 1000, hidden_size=2, alphabet="ab")
        next(outcomes)
        outcomes.close()
    """,
    "sweep": """
        assert len(list(client.sweep(["ab"], hidden_sizes=[2, 3], seeds=[1, 2]))) == 4
    """,
    "a call in parts": """
        words = ["abc" * 20] * 5000
        assert client.forward(words, hidden_size=64, alphabet="abc").outputs.shape == (5000, 60, 64)
    """,
    "calls of many greenlets": """
        jobs = [gevent.spawn(client.forward, ["ab"], hidden_size=2, alphabet="ab") for _ in range(50)]
        gevent.joinall(jobs, raise_error=True)
        assert all((job.value.outputs == expected).all() for job in jobs)
    """,
    "a refused request": """
        try:
            client.forward([""], hidden_size=2)
            raise AssertionError
        except InvalidRequestError:
            pass
    """,
    "a server that is not there": """
        try:
            Client("localhost:1").server_info()
            raise AssertionError
        except UnavailableError:
            pass
    """,
    "gevent's own timeout": """
        batches = iter(lambda: (gevent.sleep(0.01), ["ab"])[1], None)
        with gevent.Timeout(0.5, False):
            list(client.map(batches, hidden_size=2, alphabet="ab"))
            raise AssertionError
    """,
    "a forked child": """
        if os.fork() == 0:
            is_right = (client.forward(["ab"], hidden_size=2, alphabet="ab").outputs == expected).all()
            count = len(list(client.map([["ab"]] * 3, hidden_size=2, alphabet="ab")))
            os._exit(0 if is_right and count == 3 else 1)
        assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
        assert (client.forward(["ab"], hidden_size=2, alphabet="ab").outputs == expected).all()
    """,
    "gRPC that the application has initialised too": """
        from grpc.experimental.gevent import init_gevent
        init_gevent()
        with Client(client._endpoint.target) as another:
            assert len(list(another.map([["ab"]] * 3, hidden_size=2, alphabet="ab"))) == 3
    """,
    "AsyncClient": """
        import asyncio
        try:
            asyncio.run(AsyncClient(client._endpoint.target).server_info())
            raise AssertionError
        except InvalidRequestError as error:
            assert "use Client" in str(error)
    """,
}


def pretend(monkeypatch, name, **functions):
    """Has a module of gevent or eventlet imported, which is not installed."""
    module = ModuleType(name)
    vars(module).update(functions)
    monkeypatch.setitem(sys.modules, name, module)


def test_libraries_that_patched_nothing_change_nothing(make_client, server_address, monkeypatch):
    pretend(monkeypatch, "gevent.monkey", is_module_patched=lambda _name: False)
    pretend(monkeypatch, "eventlet.patcher", is_monkey_patched=lambda _name: False)
    with make_client(server_address) as client:
        assert client.server_info().version


def test_under_eventlet_calls_are_refused_with_the_remedy(make_client, server_address, monkeypatch):
    pretend(monkeypatch, "eventlet.patcher", is_monkey_patched=lambda name: name == "thread")
    with make_client(server_address) as client:
        with pytest.raises(
            InvalidRequestError, match=r"use gevent, or eventlet.monkey_patch\(thread=False\)"
        ):
            client.server_info()
        with pytest.raises(InvalidRequestError, match="eventlet has patched"):
            list(client.map([["a"]], hidden_size=2, alphabet="a"))


def test_under_gevent_the_asynchronous_client_is_refused_with_the_remedy(server_address, monkeypatch):
    pretend(monkeypatch, "gevent.monkey", is_module_patched=lambda name: name == "threading")
    with pytest.raises(InvalidRequestError, match=r"gevent has patched this process's threads.*use Client"):
        asyncio.run(AsyncClient(server_address).server_info())


@pytest.mark.long
@pytest.mark.parametrize("name", CALLS)
def test_under_gevent_calls_end_as_they_do_elsewhere(server_address, name):
    pytest.importorskip("gevent")
    code = BEGIN.format(target=server_address) + dedent(CALLS[name]) + "client.close()"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
