"""The progress bar of `forward`, `map` and `sweep`."""

import io
import sys

import pytest
from unrolled_client import Client, InvalidRequestError

BATCHES = [["hello", "world"], ["a"], ["some", "more", "words"], ["zebra"]]
LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = [f"{number:04d}" for number in range(6_000)]


class Terminal(io.StringIO):
    """Standard error as a terminal has it."""

    def isatty(self):
        return True


def on_terminal(monkeypatch):
    """Replaces standard error, which pytest replaces between a fixture and its test."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    return terminal


@pytest.fixture
def client(make_client, server_address):
    with make_client(server_address) as client:
        yield client


def forward(client, words=WORDS):
    client.forward(words, hidden_size=2, alphabet="0123456789", progress=True)


def mapped(client, batches=BATCHES):
    assert len(list(client.map(batches, hidden_size=2, alphabet=LETTERS, progress=True))) == 4


def swept(client):
    assert len(list(client.sweep(["hello"], hidden_sizes=[2, 3], seeds=iter([0, 1]), progress=True))) == 4


CALLS = [(forward, "6000/6000"), (mapped, "4/4"), (swept, "4/4")]


@pytest.mark.parametrize(("call", "shown"), CALLS)
def test_a_terminal_shows_a_bar(client, monkeypatch, call, shown):
    """It counts the words of a call in parts, batches or networks, and is gone at the end."""
    terminal = on_terminal(monkeypatch)
    call(client)
    assert shown in terminal.getvalue()
    assert terminal.getvalue().endswith("\x1b[1A\x1b[2K")


@pytest.mark.parametrize("call", [call for call, _ in CALLS])
def test_a_pipe_shows_nothing(client, capsys, call):
    call(client)
    assert capsys.readouterr() == ("", "")


def test_a_closed_standard_error_shows_nothing(client, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    mapped(client)


def test_a_call_in_one_request_shows_nothing(client, monkeypatch):
    terminal = on_terminal(monkeypatch)
    forward(client, ["12"])
    assert not terminal.getvalue()


def test_batches_of_unknown_number_have_no_total(client, monkeypatch):
    terminal = on_terminal(monkeypatch)
    mapped(client, iter(BATCHES))
    assert "4 batches" in terminal.getvalue()
    assert "/" not in terminal.getvalue()


def test_what_is_printed_beside_a_bar_goes_to_standard_output(client, monkeypatch, capsys):
    """Also if that is a file or a pipe, and a line longer than the terminal is wide stays one line."""
    terminal = on_terminal(monkeypatch)
    for outcome in client.map(BATCHES, hidden_size=2, alphabet=LETTERS, progress=True):
        sys.stdout.write(f"{outcome.index} {'x' * 500}\n")
    assert capsys.readouterr().out == "".join(f"{index} {'x' * 500}\n" for index in range(4))
    assert "x" not in terminal.getvalue()


def test_the_bar_is_gone_after_an_error(client, monkeypatch):
    terminal = on_terminal(monkeypatch)
    with pytest.raises(InvalidRequestError):
        forward(client, [*WORDS, "!"])
    assert terminal.getvalue().endswith("\x1b[1A\x1b[2K")


def test_without_rich_the_error_says_what_to_install(server_address, monkeypatch):
    terminal = on_terminal(monkeypatch)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    with Client(server_address) as client, pytest.raises(ModuleNotFoundError, match=r"unrolled\[cli\]"):
        mapped(client)
    assert not terminal.getvalue()
