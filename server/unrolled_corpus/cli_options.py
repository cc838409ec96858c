"""The options of `unrolled-map`, by the names that the SDK and the server use."""

import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer
from unrolled.text import resolve_alphabet
from unrolled_server.paths import local_path

from unrolled_corpus.errors import CorpusError
from unrolled_corpus.input_files import would_read
from unrolled_corpus.parameters import ROW_COLUMN, Parameters, seed_column

_corpus = functools.partial(typer.Option, rich_help_panel="Corpus")
_placement = functools.partial(typer.Option, rich_help_panel="Placement")


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusFlags:
    """What to read and what to write."""

    source: Annotated[
        str,
        typer.Argument(
            metavar="INPUT",
            help="A Parquet file, a folder of them, or a pattern in quotes such as 'in/*.parquet'.",
        ),
    ]
    output_folder: Annotated[
        str,
        typer.Argument(
            metavar="OUTPUT", help="Folder to write. All machines of a cluster must see it under this path."
        ),
    ]
    column: Annotated[str, _corpus(metavar="NAME", help="Column with the texts.")] = "text"
    keep: Annotated[str, _corpus(metavar="NAME,...", help="Columns to copy to the output.")] = ""

    @property
    def source_path(self) -> Path:
        """INPUT as a path; raises a `CorpusError` if it isn't one."""
        return _path("INPUT", self.source)

    @property
    def output_path(self) -> Path:
        """OUTPUT as an absolute path; raises a `CorpusError` if it isn't a path."""
        return _path("OUTPUT", self.output_folder).absolute()

    @property
    def kept_columns(self) -> tuple[str, ...]:
        return tuple(name.strip() for name in self.keep.split(",") if name.strip())


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementFlags:
    """Where the job runs; the output's bytes don't depend on it."""

    address: Annotated[
        str | None,
        _placement(
            metavar="ADDRESS",
            help="A Ray cluster: HOST:PORT, auto or ray://HOST:PORT.  [default: this machine alone]",
        ),
    ] = None
    workers: Annotated[
        int | None,
        _placement(
            min=1, metavar="COUNT", help="Processes that compute, with a core each.  [default: all cores]"
        ),
    ] = None
    state_memory_mb: Annotated[
        int,
        _placement(
            min=16, metavar="MIB", help="Memory of each process for weights, prefix trees and states."
        ),
    ] = 256


def check_options(corpus: CorpusFlags, parameters: Parameters) -> Parameters:
    """Checks all values; returns the parameters with their alphabet's letters and the vectors' absolute path.

    Raises:
        CorpusError: A value is wrong, two columns would have one name, or OUTPUT would be in INPUT.
    """
    parameters = replace(parameters, alphabet=parameters.alphabet and resolve_alphabet(parameters.alphabet))
    parameters.check()
    seed_columns = set(map(seed_column, parameters.seed_numbers))
    for at, name in enumerate(corpus.kept_columns):
        if name in corpus.kept_columns[:at]:
            raise CorpusError(f"--keep names {name!r} twice; name each column once")
        if name in seed_columns:
            raise CorpusError(f"--keep has {name!r}, which is the column of a seed; rename it in INPUT")
        if name == ROW_COLUMN and parameters.on_empty == "skip":
            raise CorpusError(
                f"--keep has {name!r}, the column of row numbers with --on-empty skip; rename it in INPUT"
            )
    source, output = corpus.source_path, corpus.output_path
    if would_read(source, output / "part-00000.parquet"):
        raise CorpusError(
            f"OUTPUT {output} is in INPUT {source}, so its files would be read as input; name a folder "
            "elsewhere"
        )
    if parameters.vectors is None:
        return parameters
    # Workers have other working directories and homes.
    name, _, file = parameters.vectors.partition("=")
    return replace(parameters, vectors=f"{name}={_path('--vectors', file).absolute()}")


def _path(argument: str, text: str) -> Path:
    try:
        return local_path(text)
    except ValueError as error:
        raise CorpusError(f"{argument} {error}") from None
