"""Clients, errors and results in other processes: what a copy has of its original."""

import asyncio
import contextlib
import copy
import multiprocessing
import pickle

import grpc
import numpy as np
import pytest
import unrolled_client
from unrolled_client import AsyncClient, Client, FieldViolation, InvalidRequestError, UnrolledError
from unrolled_client.errors import ERRORS_BY_CODE

CLIENTS = pytest.mark.parametrize("client_class", [Client, AsyncClient])
COPIES = pytest.mark.parametrize(
    "duplicate", [lambda client: pickle.loads(pickle.dumps(client)), copy.copy, copy.deepcopy]
)


def asked(result):
    return asyncio.run(result) if asyncio.iscoroutine(result) else result


def close(client):
    asked(client.close())


def ask(client):
    return asked(client.forward(["hello"], hidden_size=2)).outputs


@CLIENTS
@COPIES
def test_a_copy_has_the_arguments_of_its_original(client_class, duplicate, authority, server_identity):
    arguments = {
        "target": "localhost:1",
        "timeout_s": 7.0,
        "options": (("grpc.primary_user_agent", "me"),),
        "root_certificates": authority.pem,
        "token": "secret",
        "channels": 3,
        "spread": "round_robin",
        "tracing": True,
        **server_identity.client_arguments,
        **({"merge": False} if client_class is AsyncClient else {}),
    }
    original = client_class(**arguments)
    made = duplicate(original)
    assert type(made) is client_class
    assert made._arguments() == original._arguments() == arguments


def test_a_copy_keeps_the_target_that_its_original_took_from_the_environment(monkeypatch):
    monkeypatch.setenv("UNROLLED_TARGET", "one.example:1")
    pickled = pickle.dumps(Client())
    monkeypatch.setenv("UNROLLED_TARGET", "two.example:2")
    assert repr(pickle.loads(pickled)) == "Client('one.example:1')"


@COPIES
def test_a_copy_of_a_client_that_called_and_was_closed_calls(server_address, duplicate):
    with Client(server_address) as client:
        expected = ask(client)
    with duplicate(client) as made:
        assert (ask(made) == expected).all()


def test_a_client_works_in_a_spawned_process(server_address):
    with Client(server_address) as client:
        expected = ask(client)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            assert (pool.apply(ask, (client,)) == expected).all()


@CLIENTS
@COPIES
def test_a_copy_of_a_client_in_process_has_its_settings_and_computes(client_class, duplicate):
    with contextlib.ExitStack() as stack:
        original = client_class.local(timeout_s=7.0, max_words=2, device="cpu")
        stack.callback(close, original)
        made = duplicate(original)
        stack.callback(close, made)
        assert type(made) is client_class
        assert made._in_process is not original._in_process
        assert (repr(made), made._timeout_s) == (repr(original), 7.0)
        expected = ask(original)
        close(original)
        assert np.array_equal(ask(made), expected)
        with pytest.raises(InvalidRequestError, match="allows 2"):
            asked(made.forward(["a", "b", "c"], hidden_size=2))


def test_a_client_in_process_computes_in_a_spawned_one():
    with Client.local() as client, multiprocessing.get_context("spawn").Pool(1) as pool:
        assert np.array_equal(pool.apply(ask, (client,)), ask(client))


ERRORS = sorted(
    {
        value
        for value in vars(unrolled_client).values()
        if isinstance(value, type) and issubclass(value, UnrolledError)
    }
    | set(ERRORS_BY_CODE.values()),
    key=lambda kind: kind.__name__,
)


@pytest.mark.parametrize("kind", ERRORS)
@COPIES
def test_every_error_keeps_what_it_says(kind, duplicate):
    violation = FieldViolation(field="words", description="too many")
    error = kind("why", code=grpc.StatusCode.UNAVAILABLE, violations=(violation,), retry_after_s=1.5)
    made = duplicate(error)
    assert type(made) is kind
    assert str(made) == "why"
    assert vars(made) == vars(error)


@COPIES
def test_results_and_what_the_server_says_of_itself_are_copied(server_address, duplicate):
    with Client(server_address) as client:
        info = client.server_info()
        result = client.forward(["hello", "oh"], hidden_size=2, cell="lstm", return_final_state=True)
    made = duplicate(result)
    assert np.array_equal(made.outputs, result.outputs)
    assert made.fingerprint == result.fingerprint
    assert np.array_equal(made.state.h, result.state.h)
    assert duplicate(info) == info
