"""The command `unrolled`: the SDK for people at a terminal and for scripts in a shell.

Exit codes: 0 done, 1 the request or the server failed, 2 the command line is wrong. Results go to standard
output, everything else to standard error.
"""

import contextlib
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import numpy as np

from unrolled_client import Client, Result, UnrolledError

try:
    import typer
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text
except ModuleNotFoundError as error:  # only the command's own entry point gets here
    raise SystemExit(
        f"unrolled: the command needs a package that is not installed ({error.name}): "
        "pip install 'unrolled[cli]'"
    ) from None

_SHOWN_ROWS = 60
_SHOWN_SYMBOLS = 40
_STATE_WIDTH = 10
_WORD_WIDTH = 20
_LETTER_WIDTH = 8
_PROGRESS = Console(stderr=True)

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: boxes leave half of 80 columns to the text
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class LayoutChoice(StrEnum):
    """The values of --layout."""

    BATCH_FIRST = "batch_first"
    SEQ_FIRST = "seq_first"


class CellChoice(StrEnum):
    """The values of --cell."""

    RNN = "rnn"
    LSTM = "lstm"
    GRU = "gru"


class NonlinearityChoice(StrEnum):
    """The values of --nonlinearity."""

    TANH = "tanh"
    RELU = "relu"


class OutputChoice(StrEnum):
    """The values of --output."""

    ALL = "all"
    LAST = "last"
    MEAN = "mean"
    MAX = "max"


Target = Annotated[
    str | None,
    typer.Option(
        envvar="UNROLLED_TARGET",
        metavar="HOST:PORT",
        help="Server to ask.  [default: start a local one]",
    ),
]
TimeoutS = Annotated[float, typer.Option(metavar="SECONDS", help="How long a call may take.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one line of JSON.")]


def _print_version(is_asked: bool) -> None:  # noqa: FBT001 - typer's signature
    if is_asked:
        typer.echo(f"unrolled {version('unrolled')}")
        raise typer.Exit


@app.callback()
def unrolled(
    *,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Words in, hidden states out: ask an Unrolled server."""


@app.command()
def forward(  # noqa: PLR0913 - the request's fields by name
    words: Annotated[list[str] | None, typer.Argument(metavar="WORD", help="Words to run.")] = None,
    *,
    hidden_size: Annotated[int, typer.Option(metavar="UNITS", help="Units of the hidden state.")],
    seed: Annotated[int, typer.Option(metavar="SEED", help="Seed of the network, as in torch.")] = 0,
    alphabet: Annotated[
        str | None,
        typer.Option(
            metavar="LETTERS",
            help="Letters in one-hot order; give it to compare runs.  [default: those of the words]",
        ),
    ] = None,
    layout: Annotated[
        LayoutChoice, typer.Option(help="Run along each word, or (seq_first) along the words.")
    ] = LayoutChoice.BATCH_FIRST,
    cell: Annotated[CellChoice, typer.Option(help="Kind of network, as in torch.nn.")] = CellChoice.RNN,
    nonlinearity: Annotated[
        NonlinearityChoice, typer.Option(help="Activation of the rnn cell.")
    ] = NonlinearityChoice.TANH,
    num_layers: Annotated[int, typer.Option(metavar="LAYERS", help="Layers upon each other.")] = 1,
    bias: Annotated[bool, typer.Option(help="Whether layers have biases.")] = True,
    proj_size: Annotated[int, typer.Option(metavar="UNITS", help="Projected state of an lstm; 0: none.")] = 0,
    embedding_size: Annotated[
        int | None,
        typer.Option(metavar="UNITS", help="Random embedding of letters.  [default: one-hot letters]"),
    ] = None,
    output: Annotated[
        OutputChoice, typer.Option(help="All states, or one vector a word.")
    ] = OutputChoice.ALL,
    file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Read the words from FILE, one a line; - is standard input."),
    ] = None,
    target: Target = None,
    timeout_s: TimeoutS = 30.0,
    as_json: AsJson = False,
    npy: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the array (batch, seq, hidden) to FILE for numpy.load."),
    ] = None,
) -> None:
    """Run words through a recurrent network; print its states.

    Example: unrolled forward hello eolll lleel --hidden-size 2 --seed 0
    """
    batch = _words(words or [], file)
    with _reporting(), _client(target, timeout_s) as client:
        result = client.forward(
            batch,
            hidden_size=hidden_size,
            seed=seed,
            alphabet=alphabet,
            layout=layout.value,
            cell=cell.value,
            nonlinearity=nonlinearity.value,
            num_layers=num_layers,
            bias=bias,
            proj_size=proj_size,
            embedding_size=embedding_size,
            output=output.value,
        )
        if npy is not None:
            _write(npy, result)
    if as_json:
        typer.echo(json.dumps(_as_dict(result)))
    elif npy is None:
        _show(batch, result)


@app.command()
def info(target: Target = None, *, timeout_s: TimeoutS = 30.0, as_json: AsJson = False) -> None:
    """Tell what answers: device, limits, versions, fingerprint."""
    with _reporting(), _client(target, timeout_s) as client:
        content = asdict(client.server_info())
    if as_json:
        typer.echo(json.dumps(content))
        return
    limits, vectors = content.pop("limits"), content.pop("vectors")
    tables = {
        f"vectors {of['name']}": f"{of['word_count']:,} words, {of['size']} values, digest {of['digest']}"
        for of in vectors
    }
    table = Table.grid(padding=(0, 2))
    for name, value in {**content, **limits, **tables}.items():
        table.add_row(name, f"{value:,}" if isinstance(value, int) else value)
    Console().print(table)


def main() -> None:
    """The entry point."""
    app(prog_name="unrolled")


def _words(words: list[str], file: Path | None) -> list[str]:
    """The words from the command line or from a file, as they stand there.

    Raises:
        typer.BadParameter: Both or neither were given, or the file is not there or not UTF-8.
    """
    if bool(words) == (file is not None):
        raise typer.BadParameter("give words, or --file FILE with one word a line")
    if file is None:
        return words
    try:
        text = sys.stdin.buffer.read() if file == Path("-") else file.read_bytes()
        # Not splitlines(), which also splits at letters such as U+2028; utf-8-sig drops a byte-order mark.
        lines = text.decode("utf-8-sig").replace("\r\n", "\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"cannot read {file}: {error}") from None
    return lines[:-1] if lines[-1] == "" else lines


@contextlib.contextmanager
def _reporting() -> Iterator[None]:
    """Turns a failure into one line and an exit code."""
    try:
        yield
    except (UnrolledError, OSError) as error:
        typer.echo(f"unrolled: {error}", err=True)
        raise typer.Exit(1) from None


@contextlib.contextmanager
def _client(target: str | None, timeout_s: float) -> Iterator[Client]:
    if target is not None:
        with Client(target, timeout_s=timeout_s) as client:
            yield client
        return
    waiting = (
        _PROGRESS.status("Starting a local server (--target asks a running one)")
        if _PROGRESS.is_terminal
        else contextlib.nullcontext()
    )
    with waiting:
        client = Client.local(timeout_s=timeout_s)
    with client:
        yield client


def _write(path: Path, result: Result) -> None:
    with path.open("wb") as file:  # a path would get .npy appended
        np.save(file, result.outputs)


def _as_dict(result: Result) -> dict[str, object]:
    return {
        "shape": result.outputs.shape,
        "lengths": result.lengths.tolist(),
        "alphabet": result.alphabet,
        "layout": result.layout,
        "outputs": result.outputs.tolist(),
        "fingerprint": result.fingerprint,
        "timing": asdict(result.timing),
    }


def _show(words: list[str], result: Result) -> None:
    """Prints what fits a screen, and says what was left out."""
    console = Console()
    hidden, rows = result.outputs.shape[-1], list(_rows(words, result))
    room = (console.width - _WORD_WIDTH - _LETTER_WIDTH) // _STATE_WIDTH
    unit_count = min(hidden, max(room, 1))
    table = Table(
        Column("word", max_width=_WORD_WIDTH, no_wrap=True),
        "states" if result.network.is_pooled else "letter",
        *(Column(f"h{unit}", justify="right") for unit in range(unit_count)),
    )
    for word, letter, states in rows[:_SHOWN_ROWS]:
        table.add_row(Text(word), Text(letter), *(f"{state:.4f}" for state in states[:unit_count]))
    console.print(table)
    typer.echo(_caption(result))
    if len(rows) > _SHOWN_ROWS or hidden > unit_count:
        name = "words" if result.network.is_pooled else "letters"
        typer.echo(
            f"shown: {min(len(rows), _SHOWN_ROWS):,} of {len(rows):,} {name}, "
            f"{unit_count:,} of {hidden:,} units; --json or --npy FILE gives all"
        )


def _caption(result: Result) -> str:
    alphabet = _printable(result.alphabet[:_SHOWN_SYMBOLS])
    rest = len(result.alphabet) - _SHOWN_SYMBOLS
    more = f" and {rest:,} more" if rest > 0 else ""
    axes = "(batch, hidden)" if result.network.is_pooled else "(batch, seq, hidden)"
    return f"{axes} = {result.outputs.shape}, layout {result.layout}, alphabet {alphabet}{more}"


def _rows(words: list[str], result: Result) -> Iterator[tuple[str, str, list[float]]]:
    """Each letter with its states; a word's name stands at its first letter. Pooled: each word."""
    for word, states in zip(words, result.outputs, strict=True):
        if result.network.is_pooled:
            yield _printable(word), result.network.output, states.tolist()
            continue
        for position, letter in enumerate(word):
            name = "" if position else word
            yield _printable(name), _printable(letter), states[position].tolist()


def _printable(text: str) -> str:
    """`text` without what would move a terminal's cursor or break a row."""
    return "".join(symbol if symbol.isprintable() else ascii(symbol)[1:-1] for symbol in text)
