"""Clients that compute in process: their settings, threads, event loops and end."""

import asyncio
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from inspect import signature

import numpy as np
import pytest
from unrolled.entry_points import EXTRAS
from unrolled_client import (
    AsyncClient,
    Client,
    ClosedError,
    DeadlineError,
    InvalidRequestError,
    LocalError,
    LocalExtraMissingError,
)
from unrolled_server.engine_settings import EngineSettings, Limits

from tests.support import long_calls
from tests.support.processes import TIMEOUT_S

CLIENTS = pytest.mark.parametrize("client_class", [Client, AsyncClient])
LESSON = ["hello", "eolll", "lleel"]


@pytest.fixture
def client():
    with Client.local() as client:
        yield client


@pytest.fixture
def slow():
    """A client for calls that take minutes."""
    with Client.local(**long_calls.SETTINGS) as client:
        yield client


def long_call(client, **changes):
    return client.forward(long_calls.WORDS, **long_calls.NETWORK, **{"timeout_s": TIMEOUT_S, **changes})


def computes(client):
    """Whether the client gives the lesson's first state."""
    first = client.forward(LESSON, hidden_size=2, alphabet="helo").outputs[0, 0]
    return np.allclose(first, [-0.7497, -0.6135], atol=1e-4)


# Settings


def test_every_setting_of_computing_is_an_argument():
    arguments = set(signature(Client.local).parameters) - {"timeout_s", "unknown"}
    settings = {field.name for field in fields(EngineSettings)} - {"limits"}
    assert arguments == settings | {field.name for field in fields(Limits)}


def test_settings_reach_the_service():
    with Client.local(max_words=2, max_hidden_size=np.int64(7), device="cpu", max_word_length=None) as client:
        limits = client.server_info().limits
    assert (limits.max_words, limits.max_hidden_size, limits.max_word_length) == (2, 7, 1_024)


@CLIENTS
@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"max_wordz": 5}, TypeError, "^max_wordz is not a setting; did you mean max_words"),
        ({"address": "localhost:1"}, TypeError, "^address is a setting of a server's.* leave it out"),
        ({"max_words": "5"}, TypeError, "^max_words is '5'; give a whole number from 1 to"),
        ({"max_words": 0}, InvalidRequestError, "^max_words is 0; it may be 1 to"),
        ({"compute_threads": 99}, InvalidRequestError, "^compute_threads is 99; it may be 0 to 32"),
        ({"device": "tpu"}, InvalidRequestError, "^device is 'tpu'; give one of 'auto', 'cpu'"),
        ({"vectors": 3}, TypeError, "^vectors is 3; give 'NAME=FILE'"),
        ({"vectors": "glove.txt"}, InvalidRequestError, "^vectors is 'glove.txt'"),
        ({"timeout_s": "5"}, TypeError, "^timeout_s is '5'"),
        ({"timeout_s": 0}, InvalidRequestError, "^timeout_s is 0"),
    ],
)
def test_wrong_settings_are_refused_by_name(client_class, settings, error, says):
    with pytest.raises(error, match=says):
        client_class.local(**settings)


def test_the_environment_of_a_server_does_not_matter(monkeypatch):
    for name in ("MAX_WORDS", "DEVICE", "TOKENS", "TLS_KEY", "VECTORS", "TARGET"):
        monkeypatch.setenv(f"UNROLLED_{name}", "0")
    with Client.local() as client:
        assert client.server_info().limits.max_words == 65_536


def test_missing_packages_are_one_sentence_with_their_remedy(monkeypatch):
    monkeypatch.setitem(EXTRAS, "local", ("numpy", "no_such_package"))
    with pytest.raises(LocalExtraMissingError) as caught:
        Client.local()
    assert str(caught.value) == (
        "computing in this process needs packages that are not installed (no_such_package): "
        "pip install 'unrolled[local]'"
    )


def test_word_vectors_that_cannot_be_loaded_are_a_local_error(tmp_path):
    (tmp_path / "bad.txt").write_text("the 0.5 0.25\ncat -0.5 one\n")
    with pytest.raises(LocalError, match=r"bad\.txt.*line 2"):
        Client.local(vectors=f"bad={tmp_path / 'bad.txt'}", vectors_cache=tmp_path)


@pytest.mark.long  # imports torch
def test_a_device_that_is_not_there_is_a_local_error():
    with pytest.raises(LocalError, match="mps"):
        Client.local(device="mps")


@CLIENTS
def test_a_client_shows_its_settings_and_its_end(client_class):
    client = client_class.local(max_words=3, device="cpu")
    name = client_class.__name__
    assert repr(client) == f"{name}.local(device='cpu', max_words=3)"
    closing = client.close()
    if client_class is AsyncClient:
        asyncio.run(closing)
    assert repr(client) == f"{name}.local(device='cpu', max_words=3, closed)"


# Results


@pytest.mark.parametrize(
    "options",
    [
        {"hidden_size": 3, "cell": "lstm"},
        {"hidden_size": 300, "cell": "lstm", "num_layers": 2},
        {"hidden_size": 300, "layout": "seq_first"},
        {"hidden_size": 40, "output": "max"},
    ],
)
@pytest.mark.parametrize("repeats", [1, 30, 600])  # small, large, in parts
def test_results_are_the_callers_own_arrays(client, options, repeats):
    """What a caller writes into them changes no later result, and later calls change none of them."""
    words = [word * (1 + at % 5) for at in range(repeats) for word in LESSON]
    words = LESSON * repeats if options.get("layout") else words

    def arrays(seed=0):
        result = client.forward(words, seed=seed, return_final_state=True, **options)
        return [array for array in (result.outputs, result.h_n, result.c_n) if array is not None]

    first = arrays()
    before = [array.copy() for array in first]
    arrays(seed=1)
    assert all(np.array_equal(array, copy) for array, copy in zip(first, before, strict=True))
    for array in first:
        array[:] = 9
    assert all(np.array_equal(array, copy) for array, copy in zip(arrays(), before, strict=True))


# Threads


def test_threads_share_a_client(client):
    kinds = [{"hidden_size": 3 + at, "cell": ("rnn", "lstm", "gru")[at % 3], "seed": at} for at in range(6)]

    def call(at):
        return client.forward(LESSON * (1 + at % 4), **kinds[at % 6]).outputs.tobytes()

    expected = [call(at) for at in range(12)]
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(call, range(480))) == expected * 40


def test_close_ends_the_calls_of_all_threads():
    client = Client.local()
    begun = threading.Barrier(9)

    def call_until_closed():
        begun.wait()
        with pytest.raises(ClosedError):
            all(computes(client) for _ in itertools.count())

    with ThreadPoolExecutor(8) as pool:
        callers = [pool.submit(call_until_closed) for _ in range(8)]
        begun.wait()
        client.close()
        for caller in callers:
            caller.result(timeout=TIMEOUT_S)


def test_close_stops_a_long_call_and_those_behind_it(slow):
    is_computing = long_calls.computing(slow)
    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(long_call, slow) for _ in range(3)]
        assert is_computing.wait(TIMEOUT_S)
        slow.close()
        for call in calls:
            with pytest.raises(ClosedError):
                call.result()


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.forward(LESSON, hidden_size=2),
        lambda client: next(client.map([LESSON], hidden_size=2, alphabet="helo")),
        lambda client: next(client.sweep(LESSON, hidden_sizes=[2], seeds=[0])),
        lambda client: client.session(hidden_size=2, alphabet="helo").feed(LESSON),
        lambda client: client.server_info(),
    ],
    ids=["forward", "map", "sweep", "session", "server_info"],
)
def test_every_call_of_a_closed_client_says_so(call):
    with Client.local() as client:
        pass
    client.close()
    with pytest.raises(ClosedError, match="the client is closed; make another"):
        call(client)


def test_a_timeout_stops_a_long_call_and_the_client_goes_on(slow):
    with pytest.raises(DeadlineError, match="raise timeout_s") as caught:
        long_call(slow, timeout_s=0.1)
    assert caught.value.is_retryable
    assert computes(slow)


def test_a_timeout_also_ends_the_wait_for_other_calls(slow):
    is_computing = long_calls.computing(slow)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(long_call, slow)
        assert is_computing.wait(TIMEOUT_S)
        with pytest.raises(DeadlineError, match="the deadline passed"):
            slow.forward(LESSON, hidden_size=2, timeout_s=0.01)
        slow.close()
        with pytest.raises(ClosedError):
            call.result()


def test_a_timeout_also_ends_a_coroutines_wait_for_other_calls():
    async def main():
        async with AsyncClient.local(**long_calls.SETTINGS) as client:
            long = [asyncio.create_task(long_call(client)) for _ in range(2)]
            await asyncio.sleep(0)  # both have begun
            with pytest.raises(DeadlineError, match="the deadline passed"):
                await long_call(client, timeout_s=0.01)
            for call in long:
                call.cancel()
            await asyncio.wait(long)

    asyncio.run(main())


@pytest.mark.parametrize("has_waited", [False, True])
def test_an_error_of_the_callers_batches_ends_the_map_only(client, has_waited):
    def batches():
        if has_waited:
            yield LESSON
        raise KeyError("mine")

    outcomes = client.map(batches(), hidden_size=2, alphabet="helo", max_in_flight=1)
    if has_waited:
        assert next(outcomes).index == 0
    with pytest.raises(KeyError, match="mine"):
        next(outcomes)
    assert computes(client)


# Event loops


async def computes_async(client):
    result = await client.forward(LESSON, hidden_size=2, alphabet="helo")
    return np.allclose(result.outputs[0, 0], [-0.7497, -0.6135], atol=1e-4)


def test_the_event_loop_goes_on_during_a_long_call_which_cancelling_stops():
    async def run():
        async with AsyncClient.local(**long_calls.SETTINGS) as client:
            is_computing = long_calls.computing(client)
            call = asyncio.create_task(long_call(client))
            assert await asyncio.to_thread(is_computing.wait, TIMEOUT_S)
            for _ in range(100):
                await asyncio.sleep(0)
            assert not call.done()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert await computes_async(client)

    asyncio.run(run())


def test_close_on_the_event_loop_ends_a_long_call():
    async def run():
        async with AsyncClient.local(**long_calls.SETTINGS) as client:
            is_computing = long_calls.computing(client)
            calls = [asyncio.create_task(long_call(client)) for _ in range(3)]
            assert await asyncio.to_thread(is_computing.wait, TIMEOUT_S)
            await client.close()
            ends = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(end) for end in ends] == [ClosedError] * 3

    asyncio.run(run())


def test_event_loops_share_a_client_at_the_same_time_and_one_after_the_other():
    client = AsyncClient.local()

    async def run():
        return all(await asyncio.gather(*(computes_async(client) for _ in range(50))))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(lambda _: asyncio.run(run()), range(8)))
    asyncio.run(client.close())


def test_concurrent_coroutines_start_few_threads(monkeypatch):
    """None for small calls, and one at a time for large ones."""
    alive = []

    class CountedThread(threading.Thread):
        def run(self):
            alive.append(sum(thread.name == self.name for thread in threading.enumerate()))
            super().run()

    async def run():
        async with AsyncClient.local() as client:
            await asyncio.gather(*(computes_async(client) for _ in range(3_000)))
            assert not alive
            calls = [client.forward(LESSON * 50, hidden_size=300, seed=seed) for seed in range(30)]
            await asyncio.gather(*calls)

    monkeypatch.setattr("unrolled_server.in_process.threading.Thread", CountedThread)
    asyncio.run(run())
    assert alive
    assert max(alive) <= 2  # one, and one that has set its result and is ending


def test_other_tasks_run_between_small_calls():
    async def run():
        async with AsyncClient.local() as client:
            other = asyncio.create_task(asyncio.sleep(0))
            for _ in range(5):
                await client.forward(LESSON, hidden_size=2)
            assert other.done()
            another = asyncio.create_task(asyncio.sleep(0))
            outcomes = client.map([LESSON] * 5, hidden_size=2, alphabet="helo")
            assert len([outcome async for outcome in outcomes]) == 5
            assert another.done()

    asyncio.run(run())


def test_a_batch_that_never_comes_ends_with_the_timeout():
    async def batches():
        yield LESSON
        await asyncio.Event().wait()

    async def run():
        async with AsyncClient.local() as client:
            outcomes = client.map(batches(), hidden_size=2, alphabet="helo", timeout_s=0.05)
            assert (await anext(outcomes)).index == 0
            with pytest.raises(DeadlineError, match="no batch came"):
                await anext(outcomes)

    asyncio.run(run())
