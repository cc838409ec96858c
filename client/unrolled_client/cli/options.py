"""The options that commands share, in groups, and the help page that shows the groups."""

from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import typer
from typer.core import TyperCommand
from unrolled.option_groups import write_option_groups

from unrolled_client import ALPHABETS, Layout, NetworkOptions
from unrolled_client._transport.endpoint import Spread
from unrolled_client.network import Cell, Nonlinearity, Output, UnknownSymbol

_words = partial(typer.Option, rich_help_panel="Words")
_network = partial(typer.Option, rich_help_panel="Network")
_size = partial(_network, metavar="SIZE")
_server = partial(typer.Option, rich_help_panel="Server")
_file = partial(_server, metavar="FILE")
output_option = partial(typer.Option, rich_help_panel="Output")
"""Declares an option about the output of a command."""

_NAMED = {"hidden_size", "seed", "alphabet", "layout"}  # parameters of the SDK's calls beside NetworkOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class WordFlags:
    """The source of the words."""

    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="WORD",
            help="Words to run, or sentences with --vectors or --word-embedding-size. Without a WORD, or "
            "with - alone, they are read from standard input, one per line.",
        ),
    ] = None
    file: Annotated[
        str | None,
        _words(metavar="FILE", help="Read the words from FILE, one per line; - is standard input."),
    ] = None
    tokenize: Annotated[
        bool,
        _words("--tokenize", help="Put sentences in lower case and set punctuation marks apart as words."),
    ] = False
    on_empty: Annotated[
        Literal["error", "skip", "zero"],
        _words(help="A word without symbols fails the call, is left out, or has states of zeros."),
    ] = "error"
    truncate: Annotated[
        bool, _words("--truncate", help="Cut words that are longer than the server allows.")
    ] = False

    def options(self) -> NetworkOptions:
        """Returns what the SDK's calls are to do with words; the command itself leaves empty ones out."""
        options: NetworkOptions = {"truncate": True} if self.truncate else {}
        return options | {"on_empty": "zero"} if self.on_empty == "zero" else options


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkFlags:
    """The network and the form of its output, with the names and defaults of the SDK."""

    alphabet: Annotated[
        str | None,
        _words(
            metavar="LETTERS",
            help=f"Letters in one-hot order, or the name of some: {', '.join(ALPHABETS)}. Give it to compare "
            "runs.  [default: the letters of the words]",
        ),
    ] = None
    unknown_symbol: Annotated[
        UnknownSymbol,
        _words(help="A letter that is not in --alphabet fails the call, is left out, or is fed as zeros."),
    ] = "error"
    embedding_size: Annotated[
        int | None,
        _words(metavar="SIZE", help="Size of a random embedding of letters.  [default: one-hot letters]"),
    ] = None
    word_embedding_size: Annotated[
        int | None,
        _words(metavar="SIZE", help="Read sentences word by word, with random word vectors of this size."),
    ] = None
    vectors: Annotated[
        str | None,
        _words(
            metavar="NAME[=FILE]",
            help="Read sentences word by word, with the word vectors NAME of the server; with FILE, the "
            "command reads them from it.",
        ),
    ] = None
    unknown_word: Annotated[
        Literal["error", "zero", "mean"], _words(help="The vector of a word that has none.")
    ] = "error"
    hidden_size: Annotated[int, _size(help="Size of the hidden state.")] = 2
    seed: Annotated[int, _network(metavar="SEED", help="Seed of the weights, as for torch.manual_seed.")] = 0
    cell: Annotated[Cell, _network(help="Kind of network, as in torch.nn.")] = "rnn"
    nonlinearity: Annotated[Nonlinearity, _network(help="Activation of the rnn cell.")] = "tanh"
    num_layers: Annotated[int, _network(metavar="COUNT", help="Number of stacked layers.")] = 1
    bidirectional: Annotated[bool, _network(help="Also read each word backward.")] = False
    bias: Annotated[bool, _network(help="Use biases.")] = True
    proj_size: Annotated[int, _size(help="Size of the lstm's projected state; 0: no projection.")] = 0
    spectral_radius: Annotated[
        float | None,
        _network(
            metavar="RADIUS", help="Scale recurrent matrices to this spectral radius.  [default: unscaled]"
        ),
    ] = None
    leak_rate: Annotated[
        float, _network(metavar="RATE", help="Leaky integration of the rnn cell, up to 1.")
    ] = 1.0
    input_scaling: Annotated[
        float, _network(metavar="FACTOR", help="Multiply the input weights of the rnn cell by this.")
    ] = 1.0
    density: Annotated[
        float, _network(metavar="FRACTION", help="Fraction of the rnn cell's recurrent weights to keep.")
    ] = 1.0
    layout: Annotated[
        Layout,
        _network(help="batch_first runs along the letters of each word; seq_first runs from word to word."),
    ] = "batch_first"
    output: Annotated[
        Output,
        output_option(
            help="All states, or one vector per word. With --bidirectional, the backward half of last has "
            "read one letter only."
        ),
    ] = "all"

    @property
    def is_pooled(self) -> bool:
        return self.output != "all"

    @property
    def reads_sentences(self) -> bool:
        return self.vectors is not None or self.word_embedding_size is not None

    @property
    def vector_table(self) -> str | None:
        return self.vectors and self.vectors.partition("=")[0]

    @property
    def has_vector_file(self) -> bool:
        return "=" in (self.vectors or "")

    def changed(self) -> dict[str, object]:
        """Returns the values that differ from their defaults, by the SDK's names."""
        values = asdict(self) | {"vectors": self.vector_table}
        return {one.name: values[one.name] for one in fields(self) if values[one.name] != one.default}

    def options(self) -> NetworkOptions:
        """Returns the keyword arguments `**network` of the SDK's calls."""
        return cast("NetworkOptions", {k: v for k, v in self.changed().items() if k not in _NAMED})


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFlags:
    """The server to call, and how."""

    target: Annotated[
        str | None,
        _server(
            envvar="UNROLLED_TARGET",
            metavar="HOST:PORT",
            help="Server to call.  [default: localhost:50051, or this process if nothing answers there]",
        ),
    ] = None
    spread: Annotated[
        Spread | None,
        _server(
            envvar="UNROLLED_SPREAD",
            help="If --target names several replicas: call them in turn, or the same one for each network.",
        ),
    ] = None
    root_certificates: Annotated[
        str | None,
        _server(
            envvar="UNROLLED_ROOT_CERTIFICATES",
            metavar="FILE|default",
            help="Use TLS and trust the authorities in this PEM file, or gRPC's own list.",
        ),
    ] = None
    certificate: Annotated[
        Path | None,
        _file(
            envvar="UNROLLED_CERTIFICATE",
            help="PEM file with this client's certificate, for a server that requires one.",
        ),
    ] = None
    key: Annotated[
        Path | None,
        _file(envvar="UNROLLED_KEY", help="PEM file with the certificate's key."),
    ] = None
    token_file: Annotated[
        Path | None,
        _file(
            envvar="UNROLLED_TOKEN_FILE",
            help="Send the token in this file.  [default: the token in UNROLLED_TOKEN]",
        ),
    ] = None
    timeout_s: Annotated[float, _server(metavar="SECONDS", help="Time limit of a call.")] = 30.0


class GroupedCommand(TyperCommand):
    """A command whose plain help page has a section for each group of options."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        write_option_groups(self.get_params(ctx), ctx, formatter)
