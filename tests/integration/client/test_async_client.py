"""What only the asynchronous client does: event loops, cancellation, many callers, streams on a loop."""

import asyncio
import threading
from contextlib import aclosing

import grpc
import numpy as np
import pytest
from unrolled_client import AsyncClient, CallCancelledError, Client, ClosedError, InvalidRequestError

LESSON = ["hello", "eolll", "lleel"]
LETTERS = "abcdefghijklmnopqrstuvwxyz"


@pytest.fixture
def expected(server_address):
    """The synchronous client's answer to a call."""
    with Client(server_address) as client:
        yield client.forward


def test_many_callers_get_the_same_bits_as_alone(make_async_client, server_address, expected):
    """Among 600 concurrent calls of several networks each has the bytes of a call by itself."""
    calls = [([LETTERS[at % 26] * (1 + at % 5), "hello"], at % 3) for at in range(600)]

    async def run():
        async with make_async_client(server_address) as client:
            return await asyncio.gather(
                *(client.forward(words, hidden_size=5, seed=seed, alphabet=LETTERS) for words, seed in calls)
            )

    for (words, seed), result in list(zip(calls, asyncio.run(run()), strict=True))[::13]:
        alone = expected(words, hidden_size=5, seed=seed, alphabet=LETTERS)
        assert result.outputs.tobytes() == alone.outputs.tobytes()
        assert result.lengths.tolist() == alone.lengths.tolist()
        assert (result.alphabet, result.fingerprint) == (LETTERS, alone.fingerprint)


def test_one_bad_word_fails_one_call(make_async_client, server_address):
    """The server's refusal reaches the caller to blame, with that caller's own index."""

    async def run():
        async with make_async_client(server_address) as client:
            calls = [["ok", "a" * 2000 if at == 7 else "ok"] for at in range(20)]
            return await asyncio.gather(
                *(client.forward(words, hidden_size=2, alphabet="oka") for words in calls),
                return_exceptions=True,
            )

    results = asyncio.run(run())
    assert [at for at, result in enumerate(results) if isinstance(result, Exception)] == [7]
    assert isinstance(results[7], InvalidRequestError)
    assert results[7].violations[0].field == "words[1]"


def test_a_lone_surrogate_is_found_before_merging(make_async_client, server_address):
    """Text that cannot travel is the caller's own error, by name, and no neighbour's."""

    async def run():
        async with make_async_client(server_address) as client:
            return await asyncio.gather(
                client.forward(["a", "\ud800"], hidden_size=2, alphabet="a"),
                client.forward(["a"], hidden_size=2, alphabet="a"),
                return_exceptions=True,
            )

    bad, good = asyncio.run(run())
    assert isinstance(bad, InvalidRequestError)
    assert bad.violations[0].field == "words[1]"
    assert good.outputs.shape == (1, 1, 2)


def test_one_client_serves_loops_one_after_the_other(server_address):
    """Each asyncio.run has channels of its own, and those of ended loops are dropped."""
    client = AsyncClient(server_address)

    async def call():
        return (await client.forward(LESSON, hidden_size=2)).outputs

    first, second, third = (asyncio.run(call()) for _ in range(3))
    assert np.array_equal(first, second)
    assert np.array_equal(first, third)
    assert len(client._loops) == 1
    asyncio.run(client.close())


def test_one_client_serves_loops_at_the_same_time(server_address):
    """Loops in four threads share a client object, and close ends the work of all."""
    client = AsyncClient(server_address)
    shapes = []

    async def call():
        results = await asyncio.gather(*(client.forward(LESSON, hidden_size=2, seed=at) for at in range(50)))
        shapes.extend(result.outputs.shape for result in results)

    threads = [threading.Thread(target=asyncio.run, args=(call(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    asyncio.run(client.close())
    assert shapes == [(3, 5, 2)] * 200


def test_it_runs_on_uvloop(make_async_client, server_address, expected):
    """Unary, merged and streamed calls work on uvloop."""
    uvloop = pytest.importorskip("uvloop")

    async def run():
        async with make_async_client(server_address) as client:
            merged = await asyncio.gather(*(client.forward(LESSON, hidden_size=2) for _ in range(20)))
            mapped = [outcome async for outcome in client.map([LESSON], hidden_size=2, alphabet="helo")]
            return merged[-1].outputs, mapped[0].result.outputs

    for outputs in uvloop.run(run()):
        assert np.array_equal(outputs, expected(LESSON, hidden_size=2).outputs)


def test_a_large_call_travels_in_parts(make_async_client, server_address, expected):
    """A call beyond one message comes back as one array with the synchronous client's bits."""
    words = [f"{number:x}" for number in range(70_000)]

    async def run():
        async with make_async_client(server_address) as client:
            return await client.forward(words, hidden_size=3, alphabet="0123456789abcdef")

    result = asyncio.run(run())
    assert np.array_equal(result.outputs, expected(words, hidden_size=3, alphabet="0123456789abcdef").outputs)


def test_map_gives_outcomes_in_order_with_errors_of_their_own(make_async_client, server_address, expected):
    """Batches come back in order, a bad one as an error where that is asked for."""
    batches = [["hello"], ["b@d"], ["world", "hello"]]

    async def run():
        async with make_async_client(server_address) as client:
            outcomes = client.map(iter(batches), hidden_size=4, alphabet=LETTERS, on_error="return")
            return [outcome async for outcome in outcomes]

    first, bad, last = asyncio.run(run())
    assert [first.index, bad.index, last.index] == [0, 1, 2]
    assert isinstance(bad.error, InvalidRequestError)
    for outcome in (first, last):
        alone = expected(batches[outcome.index], hidden_size=4, alphabet=LETTERS)
        assert np.array_equal(outcome.result.outputs, alone.outputs)


def test_map_raises_where_nothing_else_is_asked_for(make_async_client, server_address):
    """The first bad batch ends a map by default, and a map without an alphabet does not begin."""

    async def run():
        async with make_async_client(server_address) as client:
            with pytest.raises(InvalidRequestError, match="alphabet"):
                _ = [outcome async for outcome in client.map([["b@d"]], hidden_size=4, alphabet="abc")]
            with pytest.raises(InvalidRequestError, match="map needs an alphabet"):
                _ = [outcome async for outcome in client.map([["a"]], hidden_size=4, alphabet="")]

    asyncio.run(run())


def test_map_can_be_left_early(make_async_client, server_address):
    """Closing the generator ends the stream, and takes no more batches than may be in flight."""
    taken = []

    def batches():
        for number in range(10_000):
            taken.append(number)
            yield ["hello"]

    async def run():
        async with make_async_client(server_address) as client:
            outcomes = client.map(batches(), hidden_size=4, alphabet=LETTERS, max_in_flight=8)
            async with aclosing(outcomes):
                return (await anext(outcomes)).index

    assert asyncio.run(run()) == 0
    assert len(taken) <= 16


@pytest.mark.parametrize("merge", [True, False])
def test_a_call_can_be_cancelled(serve, merge):
    """Cancelling the caller's task ends the call on the server too."""
    entered, ended = threading.Event(), threading.Event()

    def answer(_data, context):
        context.add_callback(ended.set)
        entered.set()
        ended.wait()
        return b""

    async def run():
        async with AsyncClient(serve(answer), merge=merge) as client:
            call = asyncio.create_task(client.forward(["a"], hidden_size=1))
            assert await asyncio.to_thread(entered.wait, 120)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert await asyncio.to_thread(ended.wait, 120)

    asyncio.run(run())


@pytest.mark.parametrize("merge", [True, False])
def test_a_servers_cancellation_is_an_error_and_not_the_callers(serve, merge):
    """A status CANCELLED does not look as if the caller's own task had been cancelled."""

    def answer(_data, context):
        context.abort(grpc.StatusCode.CANCELLED, "no")

    async def run():
        async with AsyncClient(serve(answer), merge=merge) as client:
            with pytest.raises(CallCancelledError):
                await client.forward(["a"], hidden_size=1)

    asyncio.run(run())


def test_close_from_another_loop_ends_what_waits(serve):
    """A client may be closed from any loop; calls on the others raise ClosedError."""
    entered, release = threading.Event(), threading.Event()

    def answer(_data, _context):
        entered.set()
        release.wait()
        return b""

    client = AsyncClient(serve(answer))
    errors = []

    async def call():
        try:
            await client.forward(["a"], hidden_size=1)
        except ClosedError as error:
            errors.append(error)

    thread = threading.Thread(target=asyncio.run, args=(call(),))
    thread.start()
    assert entered.wait(120)
    asyncio.run(client.close())
    thread.join()
    release.set()
    assert len(errors) == 1
