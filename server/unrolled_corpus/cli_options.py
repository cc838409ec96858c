"""The options of `unrolled-map`, by the names that the SDK and the server use."""

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from unrolled_server.paths import local_path

from unrolled_corpus.errors import CorpusError
from unrolled_corpus.input_files import would_read
from unrolled_corpus.parameters import (
    ROW_COLUMN,
    CellName,
    NonlinearityName,
    OnEmpty,
    OutputName,
    Parameters,
    UnknownWord,
    parse_seeds,
    seed_column,
)

_corpus = functools.partial(typer.Option, rich_help_panel="Corpus")
_network = functools.partial(typer.Option, rich_help_panel="Network")
_placement = functools.partial(typer.Option, rich_help_panel="Where it runs")


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
    part_rows: Annotated[int, _corpus(metavar="ROWS", help="Rows of each file of the output.")] = 50_000
    max_word_length: Annotated[
        int, _corpus(metavar="SYMBOLS", help="Most symbols of a text; a longer one ends the job.")
    ] = 1_024
    on_empty: Annotated[
        OnEmpty,
        _corpus(
            help="What to do with rows whose text is null or has no symbols: end the job (error), leave them "
            "out and number the others in a column (skip), or write zeros (zero)."
        ),
    ] = "error"

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
        """The names in --keep."""
        return tuple(name.strip() for name in self.keep.split(",") if name.strip())

    def check(self, seeds: Sequence[int]) -> None:
        """Raises a `CorpusError` if two columns would have one name, or OUTPUT would be in INPUT."""
        seed_columns = set(map(seed_column, seeds))
        for at, name in enumerate(self.kept_columns):
            if name in self.kept_columns[:at]:
                raise CorpusError(f"--keep names {name!r} twice; name each column once")
            if name in seed_columns:
                raise CorpusError(f"--keep has {name!r}, which is the column of a seed; rename it in INPUT")
            if name == ROW_COLUMN and self.on_empty == "skip":
                raise CorpusError(
                    f"--keep has {name!r}, the column of row numbers with --on-empty skip; rename it in INPUT"
                )
        source, output = self.source_path, self.output_path
        if would_read(source, output / "part-00000.parquet"):
            raise CorpusError(
                f"OUTPUT {output} is in INPUT {source}, so its files would be read as input; name a folder "
                "elsewhere"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkFlags:
    """The network, as the SDK's calls take it, and its seeds."""

    hidden_size: Annotated[int, _network(metavar="UNITS", help="Units of the hidden state.")]
    seeds: Annotated[
        str,
        _network(
            metavar="SEEDS", help="Seeds as for torch.manual_seed, such as 7 or 0-9,17; one column each."
        ),
    ] = "0"
    output: Annotated[
        OutputName,
        _network(
            help="All states of a text, or one vector. With --bidirectional, the backward half of last has "
            "read only one symbol; mean and max have read all."
        ),
    ] = "last"
    cell: Annotated[CellName, _network(help="Kind of network, as in torch.nn.")] = "rnn"
    nonlinearity: Annotated[NonlinearityName, _network(help="Activation of the rnn cell.")] = "tanh"
    num_layers: Annotated[int, _network(metavar="LAYERS", help="Number of stacked layers.")] = 1
    bidirectional: Annotated[bool, _network(help="Run the layers backwards, too.")] = False
    bias: Annotated[bool, _network(help="Give the layers biases.")] = True
    proj_size: Annotated[
        int, _network(metavar="UNITS", help="Size of an lstm's projected state; 0 for no projection.")
    ] = 0
    spectral_radius: Annotated[
        float | None,
        _network(
            metavar="RADIUS", help="Scale recurrent matrices to this spectral radius.  [default: as drawn]"
        ),
    ] = None
    alphabet: Annotated[
        str | None,
        _network(
            metavar="LETTERS",
            help="Letters in one-hot order.  [default: those of the corpus, by first appearance]",
        ),
    ] = None
    embedding_size: Annotated[
        int | None,
        _network(metavar="UNITS", help="Size of a random embedding of letters.  [default: one-hot letters]"),
    ] = None
    vectors: Annotated[
        str | None,
        _network(
            metavar="NAME=FILE", help="Run along the words of sentences, with the word vectors in FILE."
        ),
    ] = None
    unknown_word: Annotated[
        UnknownWord,
        _network(
            help="What to do with a word that has no vector: end the job, or use zeros or the mean vector."
        ),
    ] = "error"

    def parameters(self, corpus: CorpusFlags) -> Parameters:
        """Returns what the job computes, checked."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        parameters = Parameters(
            **values | {"seeds": parse_seeds(self.seeds)},
            part_rows=corpus.part_rows,
            max_word_length=corpus.max_word_length,
            on_empty=corpus.on_empty,
        )
        parameters.check()
        corpus.check(parameters.seeds)
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


def with_groups(command: Callable[..., None]) -> Callable[..., None]:
    """`command` as typer is to see it: with the fields of its groups in place of the groups."""
    given_parameters = inspect.signature(command).parameters
    groups: dict[str, Any] = {
        name: given.annotation for name, given in given_parameters.items() if is_dataclass(given.annotation)
    }

    @functools.wraps(command)
    def call(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{item.name: given.pop(item.name) for item in fields(group)})
        command(**given)

    spread = [
        part
        for name, given in given_parameters.items()
        for part in (_parameters_of(groups[name]) if name in groups else [given])
    ]
    call.__signature__ = inspect.Signature(spread)  # type: ignore[attr-defined]
    return call


def _parameters_of(group: Any) -> list[inspect.Parameter]:
    """The fields of a dataclass as parameters of a function."""
    return [
        inspect.Parameter(
            item.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if item.default is MISSING else item.default,
            annotation=item.type,
        )
        for item in fields(group)
    ]
