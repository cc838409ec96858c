"""The options that commands share, in groups, and the help page that shows the groups."""

from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import typer
from typer.core import TyperCommand

from unrolled_client import Layout, NetworkOptions
from unrolled_client._transport.load_balancing import Spread
from unrolled_client.network import Cell, Nonlinearity, Output

_words = partial(typer.Option, rich_help_panel="Words")
_network = partial(typer.Option, rich_help_panel="Network")
_server = partial(typer.Option, rich_help_panel="Server")
as_output = partial(typer.Option, rich_help_panel="Output")
"""An option of a command's own about what it gives."""

_NAMED = {"hidden_size", "seed", "alphabet", "layout"}  # parameters of the SDK's calls beside NetworkOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class WordFlags:
    """Where the words come from."""

    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="WORD",
            help="Words to run; with --vectors, sentences. Without any, or as -, they are read from standard "
            "input, one a line.",
        ),
    ] = None
    file: Annotated[
        str | None, _words(metavar="FILE", help="Read them from FILE, one a line; - is standard input.")
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkFlags:
    """The network and what is asked of it, by the SDK's names and with its defaults."""

    alphabet: Annotated[
        str | None,
        _words(metavar="LETTERS", help="In one-hot order; give it to compare runs.  [default: the words']"),
    ] = None
    embedding_size: Annotated[
        int | None, _words(metavar="UNITS", help="Random embedding of letters.  [default: one-hot letters]")
    ] = None
    vectors: Annotated[
        str | None,
        _words(
            metavar="NAME[=FILE]",
            help="Run along the words of sentences, by vectors that the server has; or, on a private server, "
            "by those in FILE.",
        ),
    ] = None
    unknown_word: Annotated[
        Literal["error", "zero", "mean"], _words(help="What a word without a vector gets.")
    ] = "error"
    hidden_size: Annotated[int, _network(metavar="UNITS", help="Units of the hidden state.")] = 2
    seed: Annotated[int, _network(metavar="SEED", help="As for torch.manual_seed.")] = 0
    cell: Annotated[Cell, _network(help="Kind of network, as in torch.nn.")] = "rnn"
    nonlinearity: Annotated[Nonlinearity, _network(help="Activation of the rnn cell.")] = "tanh"
    num_layers: Annotated[int, _network(metavar="LAYERS", help="Layers upon each other.")] = 1
    bidirectional: Annotated[bool, _network(help="Whether layers also run backwards.")] = False
    bias: Annotated[bool, _network(help="Whether layers have biases.")] = True
    proj_size: Annotated[
        int, _network(metavar="UNITS", help="Size of an lstm's projected state; 0 is none.")
    ] = 0
    spectral_radius: Annotated[
        float | None,
        _network(metavar="RADIUS", help="Scale recurrent matrices to this.  [default: as drawn]"),
    ] = None
    layout: Annotated[Layout, _network(help="Run along each word, or (seq_first) along the words.")] = (
        "batch_first"
    )
    output: Annotated[
        Output,
        as_output(
            help="All states, or one vector a word. With --bidirectional, the backward half of last has read "
            "one letter only."
        ),
    ] = "all"

    @property
    def is_pooled(self) -> bool:
        """Whether there is one vector a word."""
        return self.output != "all"

    @property
    def vector_table(self) -> str | None:
        """The name of the table of word vectors."""
        return self.vectors and self.vectors.partition("=")[0]

    @property
    def has_vector_file(self) -> bool:
        """Whether the word vectors are in a file, for a local server to load."""
        return "=" in (self.vectors or "")

    def changed(self) -> dict[str, object]:
        """What is not as it is by default, by the SDK's names."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values["vectors"] = self.vector_table
        return {
            name: values[name]
            for name, field in self.__dataclass_fields__.items()
            if values[name] != field.default
        }

    def options(self) -> NetworkOptions:
        """What the SDK's calls take by `**network`."""
        return cast("NetworkOptions", {k: v for k, v in self.changed().items() if k not in _NAMED})


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFlags:
    """Whom to ask."""

    target: Annotated[
        str | None,
        _server(
            envvar="UNROLLED_TARGET",
            metavar="HOST:PORT",
            help="Server to ask.  [default: localhost:50051, or a private one if nothing answers there]",
        ),
    ] = None
    spread: Annotated[
        Spread | None,
        _server(
            envvar="UNROLLED_SPREAD",
            help="Where --target names several replicas: ask them in turn, or each network's own.",
        ),
    ] = None
    root_certificates: Annotated[
        str | None,
        _server(
            envvar="UNROLLED_ROOT_CERTIFICATES",
            metavar="FILE|default",
            help="Speak TLS, and trust the authorities of this PEM file or of gRPC's own list.",
        ),
    ] = None
    certificate: Annotated[
        Path | None,
        _server(
            envvar="UNROLLED_CERTIFICATE",
            metavar="FILE",
            help="PEM of this client's certificate, for a server that asks who calls.",
        ),
    ] = None
    key: Annotated[
        Path | None, _server(envvar="UNROLLED_KEY", metavar="FILE", help="PEM of the certificate's key.")
    ] = None
    token_file: Annotated[
        Path | None,
        _server(
            envvar="UNROLLED_TOKEN_FILE",
            metavar="FILE",
            help="Send the token in this file.  [default: the one in UNROLLED_TOKEN]",
        ),
    ] = None
    timeout_s: Annotated[float, _server(metavar="SECONDS", help="How long a call may take.")] = 30.0


class GroupedCommand(TyperCommand):
    """A command whose plain help page has a section for each group of options."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Writes the sections, in the order of their first options."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for option in self.get_params(ctx):
            record = option.get_help_record(ctx)
            if record is not None:
                is_argument = option.param_type_name == "argument"
                title = "Arguments" if is_argument else getattr(option, "rich_help_panel", None) or "Options"
                sections.setdefault(title, []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)
