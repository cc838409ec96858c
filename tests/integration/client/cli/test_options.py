"""The options: each arrives at the server, under the SDK's name and with its default."""

import os
from dataclasses import fields

import grpc
import pytest
from typer.testing import CliRunner
from unrolled.v1 import forward_pb2 as pb
from unrolled_client import Client, NetworkOptions, UnsupportedError
from unrolled_client.cli import app
from unrolled_client.cli.options import NetworkFlags, WordFlags

COMMANDS = ["forward", "plot"]
LETTERS = {
    "seed": -7,
    "alphabet": "olhe",
    "layout": "seq_first",
    "cell": "lstm",
    "num_layers": 2,
    "bidirectional": True,
    "bias": False,
    "proj_size": 1,
    "embedding_size": 5,
    "unknown_symbol": "zero",
    "on_empty": "zero",
    "output": "mean",
}
SENTENCES = {"nonlinearity": "relu", "spectral_radius": 0.9, "vectors": "glove", "unknown_word": "zero"}
RESERVOIR = {"leak_rate": 0.3, "input_scaling": 2.5, "density": 0.1, "word_embedding_size": 7}


def as_flags(options):
    """The command line that says the same as keyword arguments of the SDK."""
    for name, value in options.items():
        flag = name.replace("_", "-")
        yield from [f"--no-{flag}" if value is False else f"--{flag}"]
        yield from [] if isinstance(value, bool) else [str(value)]


@pytest.fixture
def requests(serve, monkeypatch):
    """The requests that reach a server, which answers none of them."""
    requests = []

    def answer(data, context):
        requests.append(pb.ForwardRequest.FromString(data))
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "not this one")

    monkeypatch.setenv("UNROLLED_TARGET", serve(answer))
    return requests


@pytest.mark.parametrize(
    "options",
    [{}, LETTERS, SENTENCES, RESERVOIR, {"alphabet": "lowercase", "unknown_symbol": "skip"}],
    ids=["defaults", "letters", "sentences", "reservoir", "skip"],
)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_asks_as_the_sdk_does(requests, command, options):
    """Whatever is given on the command line, the request is the one that the SDK sends for it."""
    words = ["hello", "lleéel"]
    done = CliRunner().invoke(app, [command, *words, "--hidden-size", "3", *as_flags(options)])
    assert (done.exit_code, done.stderr) == (1, "unrolled: not this one\n")
    with Client(os.environ["UNROLLED_TARGET"]) as client, pytest.raises(UnsupportedError):
        client.forward(words, hidden_size=3, **options)
    by_command, by_sdk = requests
    assert by_command == by_sdk


def test_the_cases_above_leave_out_no_option():
    """Each of the network's options is given another value than its default in one of the cases."""
    given = {"hidden_size", *LETTERS, *SENTENCES, *RESERVOIR}
    assert {field.name for field in fields(NetworkFlags)} == given - {"on_empty"}


def test_the_command_has_every_option_of_the_sdk():
    """What calls of the SDK take, the command takes; final states are for programs."""
    names = {field.name for group in (NetworkFlags, WordFlags) for field in fields(group)}
    assert NetworkOptions.__annotations__.keys() - names == {"return_final_state"}


def test_only_what_is_asked_for_is_sent():
    """Defaults stay with the SDK, and a file's name stays here."""
    assert NetworkFlags(hidden_size=2).options() == {}
    given = NetworkFlags(hidden_size=2, seed=3, bias=False, vectors="glove=some/file.txt")
    assert given.options() == {"bias": False, "vectors": "glove"}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_running_server_loads_no_vectors(run, command):
    """--vectors NAME=FILE for a server that runs is a mistake in the command line, and the message helps."""
    done = run(command, "the cat", "--hidden-size", 2, "--vectors", "glove=some/file.txt")
    message = " ".join(done.stderr.replace("│", " ").split())
    assert done.exit_code == 2
    assert "give --vectors glove, and start that server with --vectors glove=some/file.txt" in message


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_a_section_for_each_group(run, command):
    """Options stand with their kind, and each stands once."""
    text = run(command, "--help").output
    sections = [line for line in text.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert sections == ["Arguments:", "Words:", "Network:", "Output:", "Server:", "Options:"]
    for group in (NetworkFlags, WordFlags):
        for name in {field.name for field in fields(group)} - {"words"}:
            assert text.count(f"\n  --{name.replace('_', '-')} ") == 1
