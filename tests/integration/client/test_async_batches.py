"""Batches of an asynchronous iterable: taken as they come, while results are handed out."""

import asyncio
from contextlib import aclosing

import numpy as np
import pytest
from unrolled_client import AsyncClient, Client, DeadlineError, InvalidRequestError

BATCHES = [["hello", "world"], ["a"], ["some", "more", "words"], ["zebra"]]
ASKED = {"hidden_size": 5, "alphabet": "abcdefghijklmnopqrstuvwxyz"}


async def coming(batches, *, before=lambda _at: asyncio.sleep(0)):
    """The batches, each after what has to happen before it."""
    for at, batch in enumerate(batches):
        await before(at)
        yield batch


def collected(target, batches, **changes):
    """The outcomes of a map, as a list."""

    async def run():
        async with AsyncClient(target) as client:
            return [outcome async for outcome in client.map(batches, **(ASKED | changes))]

    return asyncio.run(run())


@pytest.mark.parametrize("changes", [{}, {"max_in_flight": 1}, {"ordered": False}, {"timeout_s": 300}])
def test_results_are_those_of_a_list(server_address, changes):
    """Every batch has the bits of forward, whatever the bounds."""
    outcomes = collected(server_address, coming(BATCHES * 20), **changes)
    assert sorted(outcome.index for outcome in outcomes) == list(range(80))
    with Client(server_address) as client:
        alone = [client.forward(batch, **ASKED).outputs for batch in BATCHES]
    assert all(np.array_equal(outcome.result.outputs, alone[outcome.index % 4]) for outcome in outcomes)


def test_no_batches_are_no_outcomes(server_address):
    """An iterable that ends at once ends the map."""
    assert collected(server_address, coming([])) == []


def test_any_asynchronous_iterable_will_do(server_address):
    """An object with __aiter__, such as a reader of a queue."""

    class Batches:
        def __init__(self):
            self._left = list(BATCHES)

        def __aiter__(self):
            return self

        async def __anext__(self):
            if not self._left:
                raise StopAsyncIteration
            return self._left.pop(0)

    assert [outcome.index for outcome in collected(server_address, Batches())] == [0, 1, 2, 3]


def test_outcomes_are_handed_out_while_the_next_batch_is_awaited(make_async_client, server_address):
    """Each batch comes only after the outcome of the one before: waiting for it alone would hang."""

    async def run():
        handed_out = [asyncio.Event() for _ in BATCHES]

        async def before(at):
            if at:
                await handed_out[at - 1].wait()

        async with make_async_client(server_address) as client:
            async for outcome in client.map(coming(BATCHES, before=before), **ASKED):
                handed_out[outcome.index].set()
        return all(event.is_set() for event in handed_out)

    assert asyncio.run(run())


def test_batches_are_taken_only_as_they_are_needed(make_async_client, server_address):
    """No more than max_in_flight are taken ahead."""
    taken = []

    async def before(at):
        taken.append(at)

    async def run():
        async with make_async_client(server_address) as client:
            outcomes = client.map(coming(BATCHES * 10, before=before), max_in_flight=3, **ASKED)
            assert not taken
            async for outcome in outcomes:
                assert len(taken) <= outcome.index + 3

    asyncio.run(run())
    assert len(taken) == 40


def test_an_error_of_the_callers_own_batches_comes_through(server_address):
    """What the iterable raises ends the map as it is."""

    async def before(at):
        if at == 2:
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        collected(server_address, coming(BATCHES, before=before))


def test_errors_can_be_returned(server_address):
    """A batch that is no list of words has its error, and so has one that is itself asynchronous."""
    batches = [["ok"], "words", coming(["a"]), ["bad!"], ["fine"]]
    outcomes = collected(server_address, coming(batches), on_error="return")
    kinds = [type(outcome.error) for outcome in outcomes]
    assert kinds == [type(None), TypeError, TypeError, InvalidRequestError, type(None)]


def test_closing_the_map_cancels_what_makes_batches(server_address):
    """What waits for the next batch is cancelled, not left behind."""

    async def run():
        never, ended = asyncio.Event(), asyncio.Event()

        async def before(at):
            if at:
                try:
                    await never.wait()
                finally:
                    ended.set()

        async with AsyncClient(server_address) as client:
            outcomes = client.map(coming(BATCHES, before=before), **ASKED)
            async with aclosing(outcomes):
                assert (await anext(outcomes)).index == 0
            await ended.wait()

    asyncio.run(run())


def test_a_batch_that_never_comes_ends_with_the_deadline(server_address):
    """timeout_s is for the wait for a batch, too."""

    async def before(at):
        if at:
            await asyncio.Event().wait()

    with pytest.raises(DeadlineError, match=r"no batch came \(1 of 1 parts are done; .* is 0\.5\)"):
        collected(server_address, coming(BATCHES, before=before), timeout_s=0.5)


def test_the_synchronous_client_names_the_one_that_takes_them(server_address):
    """It cannot wait for them."""
    batches = coming(BATCHES)
    with (
        Client(server_address) as client,
        pytest.raises(TypeError, match=r"batches .* only AsyncClient\.map"),
    ):
        client.map(batches, **ASKED)


def test_one_batch_after_the_other_in_all_calls_of_many(make_async_client, server_address):
    """Several maps on one loop take turns and stay apart."""

    async def run():
        async with make_async_client(server_address) as client:

            async def indices():
                return [outcome.index async for outcome in client.map(coming(BATCHES), **ASKED)]

            return await asyncio.gather(*(indices() for _ in range(8)))

    assert asyncio.run(run()) == [[0, 1, 2, 3]] * 8
