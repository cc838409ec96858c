"""`map`: many batches over one stream, or in process."""

import asyncio
import io
import sys
import threading

import numpy as np
import pytest
from unrolled.v1 import forward_pb2 as pb
from unrolled_client import Client, InvalidRequestError, derive_alphabet

LETTERS = "abcdefghijklmnopqrstuvwxyz"
BATCHES = [["hello", "world"], ["a"], ["some", "more", "words"], ["zebra"]]


@pytest.fixture
def client(make_client, server_address):
    """A client of the suite's server."""
    with make_client(server_address) as client:
        yield client


def mapped(client, batches=BATCHES, **changes):
    """A map with the usual arguments, but for the changes."""
    return client.map(batches, **({"hidden_size": 5, "alphabet": LETTERS} | changes))


def test_results_are_those_of_forward_in_order(client):
    """Each batch's result has the bits of a call of its own, in the order of the batches."""
    outcomes = list(mapped(client, BATCHES * 50))
    assert [outcome.index for outcome in outcomes] == list(range(200))
    for outcome, batch in zip(outcomes, BATCHES * 50, strict=True):
        alone = client.forward(batch, hidden_size=5, alphabet=LETTERS)
        assert np.array_equal(outcome.result.outputs, alone.outputs)


def test_unordered_results_come_as_they_are_completed(serve_stream, reply_to):
    """With ordered=False a batch whose answer is late does not hold up the others."""

    def answer(requests, _context):
        first = next(requests)
        yield from (reply_to(next(requests)) for _ in range(3))
        yield reply_to(first)

    with Client(serve_stream(answer)) as client:
        assert [outcome.index for outcome in mapped(client, ordered=False)] == [1, 2, 3, 0]


def test_batches_of_any_size_and_kind_mix(client):
    """Large batches travel in parts between small ones; generators and empty iterables do."""
    large = [f"{number:04d}" for number in range(6_000)]
    sizes = [
        len(outcome.result.lengths)
        for outcome in mapped(client, [["1"], large, ["2"]], alphabet="0123456789")
    ]
    assert sizes == [1, 6_000, 1]
    assert sum(1 for _ in mapped(client, (iter(batch) for batch in BATCHES))) == 4
    assert list(mapped(client, [])) == []


def test_an_error_ends_the_map(client):
    """By default the first batch that fails raises its error, after the results before it."""
    outcomes = mapped(client, [["ok"], ["bad!"], ["ok"]])
    assert next(outcomes).index == 0
    with pytest.raises(InvalidRequestError, match=r"words\[0\]"):
        next(outcomes)
    assert list(outcomes) == []


def test_errors_can_be_returned(client):
    """With on_error="return" each bad batch has its error and the others their results."""
    batches = [["ok"], ["bad!"], "not a list", ["a\ud800"], [], ["fine"]]
    outcomes = list(mapped(client, batches, on_error="return"))
    kinds = [type(outcome.error).__name__ for outcome in outcomes]
    invalid = "InvalidRequestError"
    assert kinds == ["NoneType", invalid, "TypeError", invalid, invalid, "NoneType"]
    with pytest.raises(InvalidRequestError):
        _ = outcomes[1].result
    assert outcomes[5].result.outputs.shape == (1, 4, 5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alphabet": ""}, "derive_alphabet"),
        ({"max_in_flight": 0}, "max_in_flight is 0"),
        ({"timeout_s": -1}, "timeout_s is -1"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_taken(changes, message):
    """What cannot work is refused at the call, not at the first outcome."""
    with Client("127.0.0.1:1") as client, pytest.raises(InvalidRequestError, match=message):
        mapped(client, **changes)


def test_an_alphabet_can_be_derived_in_a_first_pass(client):
    """derive_alphabet gives all words one network, as one call with all of them would have."""
    alphabet = derive_alphabet(word for batch in BATCHES for word in batch)
    together = client.forward([word for batch in BATCHES for word in batch], hidden_size=5)
    first = next(mapped(client, alphabet=alphabet)).result
    assert np.array_equal(first.outputs, together.outputs[:2])


def test_batches_are_taken_only_as_they_are_needed(client):
    """No more than max_in_flight batches are taken ahead, in one thread, which is the caller's own."""
    taken = []

    def batches():
        for batch in BATCHES * 10:
            taken.append(threading.current_thread())
            yield batch

    outcomes = mapped(client, batches(), max_in_flight=3)
    assert not taken
    for handed_out, _ in enumerate(outcomes):
        assert len(taken) <= handed_out + 3
    assert len(set(taken)) == 1
    assert (taken[0] is threading.current_thread()) == isinstance(client, Client)


def test_an_error_of_the_callers_own_batches_comes_through(client):
    """What the iterable raises ends the map as it is."""

    def batches():
        yield ["ok"]
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        list(mapped(client, batches()))


def test_closing_the_generator_cancels_the_stream(serve_stream, reply_to):
    """The server sees the call end as soon as the generator is closed, and no thread stays."""
    cancelled = threading.Event()

    def answer(requests, context):
        context.add_callback(cancelled.set)
        yield reply_to(next(requests))
        threading.Event().wait(timeout=0) or cancelled.wait(timeout=120)

    with Client(serve_stream(answer)) as client:
        outcomes = mapped(client)
        assert next(outcomes).index == 0
        outcomes.close()
        assert cancelled.wait(timeout=120)
        assert list(outcomes) == []


def test_each_request_names_itself_once(serve_stream, reply_to):
    """The ids on a stream differ, however many batches there are."""
    ids = []

    def answer(requests, _context):
        for data in requests:
            ids.append(pb.ForwardRequest.FromString(data).id)
            yield reply_to(data)

    with Client(serve_stream(answer)) as client:
        assert sum(1 for _ in mapped(client, BATCHES * 30)) == 120
    assert len(ids) == len(set(ids)) == 120


def test_progress_shows_nothing_in_a_pipe(client, capsys):
    """With progress=True and no terminal the outcomes are all there is."""
    assert sum(1 for _ in mapped(client, progress=True)) == 4
    assert capsys.readouterr() == ("", "")


class Terminal(io.StringIO):
    """Standard error as a terminal has it."""

    def isatty(self):
        return True


def test_progress_shows_a_bar_on_a_terminal(client, monkeypatch):
    """On a terminal the batches are counted, and outcomes are the same."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    assert [outcome.index for outcome in mapped(client, progress=True)] == [0, 1, 2, 3]
    assert "4/4" in terminal.getvalue()


def test_progress_shows_a_bar_for_coroutines_too(make_async_client, server_address, monkeypatch):
    """AsyncClient.map counts its batches in the same way."""

    async def collect():
        async with make_async_client(server_address) as client:
            return [outcome.index async for outcome in mapped(client, progress=True)]

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    assert asyncio.run(collect()) == [0, 1, 2, 3]
    assert "4/4" in terminal.getvalue()


def test_a_progress_bar_without_rich_says_what_to_install(client, monkeypatch):
    """Where rich is missing, progress=True on a terminal names the extra."""
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setitem(sys.modules, "rich.console", None)
    with pytest.raises(ModuleNotFoundError, match=r"unrolled\[cli\]"):
        next(mapped(client, progress=True))
