"""Fixtures that run commands in this process, and make plot data of random states."""

import socket
from functools import partial

import numpy as np
import pytest
from typer.testing import CliRunner
from unrolled_client._display.picture import Panel, Picture
from unrolled_client._transport import target
from unrolled_client.cli import app
from unrolled_loadtest.cli import app as load_app


@pytest.fixture
def run(server_address, monkeypatch):
    """A function that runs `unrolled` with arguments against the suite's server."""
    monkeypatch.setenv("UNROLLED_TARGET", server_address)
    monkeypatch.setenv("COLUMNS", "80")
    return partial(_invoke, app)


@pytest.fixture
def run_load(run):
    """A function that runs `unrolled-load` with arguments against the suite's server."""
    return partial(_invoke, load_app)


def _invoke(command, *arguments, **options):
    return CliRunner().invoke(command, [str(argument) for argument in arguments], **options)


@pytest.fixture
def unnamed(run, monkeypatch):
    """A function that runs the command without a target, while nothing listens on the default address."""
    monkeypatch.delenv("UNROLLED_TARGET")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # without listen() the port refuses connections but stays taken
        monkeypatch.setattr(target, "DEFAULT_TARGET", f"127.0.0.1:{unused.getsockname()[1]}")
        yield run


@pytest.fixture(scope="session")
def picture_of():
    """A function that makes plot data of random states for `words`; words with spaces are sentences."""

    def make(
        words, *, units=2, directions=("",), is_pooled=False, scale=1, title="rnn, hidden_size 2, seed 0"
    ):
        rng = np.random.default_rng(0)

        def states(*shape):
            return (scale * np.tanh(rng.normal(size=shape))).astype("f4")

        hidden = units * len(directions)
        parts = [word.split() if " " in word else list(word) for word in words]
        names = [("mean of each word", words)] if is_pooled else list(zip(words, parts, strict=True))
        panels = [
            Panel(title=name, labels=labels, states=states(len(labels), hidden)) for name, labels in names
        ]
        return Picture(
            title=title,
            panels=panels,
            row_name="word" if is_pooled else "letter",
            limit=float(max(np.abs(panel.states).max(initial=0) for panel in panels)) or 1.0,
            directions=directions,
        )

    return make
