"""The command's options, each declared once, by the names that the SDK and the server have for them.

They are what `--help` shows.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated

import typer
from unrolled_server.paths import local_path

from unrolled_corpus.errors import CorpusError
from unrolled_corpus.parameters import (
    ROW_COLUMN,
    CellName,
    NonlinearityName,
    OnEmpty,
    OutputName,
    Parameters,
    UnknownWord,
)
from unrolled_corpus.seeds import column_of, parse_seeds

_corpus = functools.partial(typer.Option, rich_help_panel="Corpus")
_network = functools.partial(typer.Option, rich_help_panel="Network")
_placement = functools.partial(typer.Option, rich_help_panel="Where it runs")


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusFlags:
    """What is read and what is written."""

    source: Annotated[str, typer.Argument(metavar="INPUT", help="A Parquet file, or a folder of them.")]
    output_folder: Annotated[
        str,
        typer.Argument(
            metavar="OUTPUT", help="Folder to write; on a cluster, on storage that all machines see."
        ),
    ]
    column: Annotated[str, _corpus(metavar="NAME", help="The column of texts.")] = "text"
    keep: Annotated[str, _corpus(metavar="NAME,...", help="Columns to copy to the output.")] = ""
    part_rows: Annotated[int, _corpus(metavar="ROWS", help="Rows of each file of the output.")] = 50_000
    max_word_length: Annotated[int, _corpus(metavar="SYMBOLS", help="A longer text ends the job.")] = 1_024
    on_empty: Annotated[
        OnEmpty,
        _corpus(
            help="What rows get whose text is null or has no symbols: an end of the job, no row in OUTPUT, "
            "which then has a column of row numbers, or zeros."
        ),
    ] = "error"

    @property
    def source_path(self) -> Path:
        """INPUT as a path.

        Raises:
            CorpusError: It is empty, a URL, or in an unknown home directory.
        """
        return _path("INPUT", self.source)

    @property
    def output_path(self) -> Path:
        """OUTPUT as a whole path.

        Raises:
            CorpusError: It is empty, a URL, or in an unknown home directory.
        """
        return _path("OUTPUT", self.output_folder).absolute()

    @property
    def kept(self) -> tuple[str, ...]:
        """The columns to copy."""
        return tuple(name.strip() for name in self.keep.split(",") if name.strip())

    def check(self, seeds: Sequence[int]) -> None:
        """Judges the values, for an output that has these seeds.

        Raises:
            CorpusError: Two of its columns would have one name, or it would lie in the input.
        """
        written = set(map(column_of, seeds))
        for at, name in enumerate(self.kept):
            if name in self.kept[:at]:
                raise CorpusError(f"--keep names {name!r} twice; name each column once")
            if name in written:
                raise CorpusError(f"--keep has {name!r}, which is the column of a seed; rename it in INPUT")
            if name == ROW_COLUMN and self.on_empty == "skip":
                raise CorpusError(
                    f"--keep has {name!r}, the column of row numbers with --on-empty skip; rename it in INPUT"
                )
        source, output = self.source_path, self.output_path
        if source.is_dir() and output.resolve().is_relative_to(source.resolve()):
            raise CorpusError(
                f"OUTPUT {output} is in INPUT {source}, so its files would be read as input; name a folder "
                "elsewhere"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkFlags:
    """The network, as the SDK's calls take it, and its seeds."""

    hidden_size: Annotated[int, _network(metavar="UNITS", help="Units of the hidden state.")]
    seeds: Annotated[
        str, _network(metavar="SEEDS", help="As torch.manual_seed takes them, a column each: 7 or 0-9,17.")
    ] = "0"
    output: Annotated[
        OutputName,
        _network(
            help="All states, or one vector a text. The last state of a bidirectional network has read one "
            "symbol backwards; mean and max have read all."
        ),
    ] = "last"
    cell: Annotated[CellName, _network(help="Kind of network, as in torch.nn.")] = "rnn"
    nonlinearity: Annotated[NonlinearityName, _network(help="Activation of the rnn cell.")] = "tanh"
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
    alphabet: Annotated[
        str | None,
        _network(metavar="LETTERS", help="In one-hot order.  [default: the corpus's, by first appearance]"),
    ] = None
    embedding_size: Annotated[
        int | None, _network(metavar="UNITS", help="Random embedding of letters.  [default: one-hot letters]")
    ] = None
    vectors: Annotated[
        str | None,
        _network(metavar="NAME=FILE", help="Run along the words of sentences, by the vectors in FILE."),
    ] = None
    unknown_word: Annotated[UnknownWord, _network(help="What a word without a vector gets.")] = "error"

    def parameters(self, corpus: CorpusFlags) -> Parameters:
        """What the job computes, judged.

        Raises:
            CorpusError: A value is wrong.
        """
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        parameters = Parameters(
            **values | {"seeds": parse_seeds(self.seeds)},
            part_rows=corpus.part_rows,
            max_word_length=corpus.max_word_length,
            on_empty=corpus.on_empty,
        )
        parameters.check()
        corpus.check(parameters.seeds)
        return replace(parameters, vectors=_with_whole_path(parameters.vectors))


def _with_whole_path(vectors: str | None) -> str | None:
    """NAME=FILE as every process can open it: a worker's working folder and home are others."""
    if vectors is None:
        return None
    name, _, file = vectors.partition("=")
    return f"{name}={_path('--vectors', file).absolute()}"


def _path(name: str, given: str) -> Path:
    try:
        return local_path(given)
    except ValueError as error:
        raise CorpusError(f"{name} {error}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementFlags:
    """Where it runs, which changes no byte of the output."""

    address: Annotated[
        str | None,
        _placement(
            metavar="ADDRESS",
            help="A Ray cluster: HOST:PORT, auto or ray://HOST:PORT.  [default: this machine alone]",
        ),
    ] = None
    workers: Annotated[
        int | None, _placement(min=1, metavar="N", help="Processes that compute.  [default: one a core]")
    ] = None
    state_memory_mb: Annotated[
        int, _placement(min=16, metavar="MIB", help="Of each, for weights, trees and states.")
    ] = 256
