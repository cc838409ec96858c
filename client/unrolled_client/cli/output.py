"""Results on standard output: tables for people, JSON for programs."""

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from unrolled_client import Result, ServerInfo
from unrolled_client._display.printable import printable

_MAX_ROWS = 60
_MAX_SYMBOLS = 40
_STATE_WIDTH = 10
_WORD_WIDTH = 20
_LETTER_WIDTH = 8


def to_json(result: Result) -> dict[str, object]:
    """Returns the object that --json prints."""
    return {
        "shape": result.outputs.shape,
        "lengths": result.lengths.tolist(),
        "alphabet": result.alphabet,
        "layout": result.layout,
        "outputs": result.outputs.tolist(),
        "fingerprint": result.fingerprint,
        "timing": asdict(result.timing),
    }


def print_states(result: Result) -> None:
    """Prints a table of the rows and units that fit, and how many do not."""
    console, network = Console(), result.network
    shown = partial(printable, encoding=console.encoding)
    hidden, rows = result.outputs.shape[-1], list(_rows(result))
    room = (console.width - _WORD_WIDTH - _LETTER_WIDTH) // _STATE_WIDTH
    unit_count = min(hidden, max(room, 1))
    whole, part = ("sentence", "word") if network.reads_sentences else ("word", "letter")
    table = Table(
        Column(whole, max_width=_WORD_WIDTH, no_wrap=True),
        Column("states" if network.is_pooled else part, max_width=_WORD_WIDTH, no_wrap=True),
        *(Column(f"h{unit}", justify="right") for unit in range(unit_count)),
    )
    for word, symbol, states in rows[:_MAX_ROWS]:
        names = (Text(shown(name)) for name in (word, symbol))
        table.add_row(*names, *(f"{state:.4f}" for state in states[:unit_count]))
    console.print(table)
    typer.echo(shown(_caption(result)))
    if len(rows) > _MAX_ROWS or hidden > unit_count:
        name = f"{whole}s" if network.is_pooled else f"{part}s"
        typer.echo(
            f"shown: {min(len(rows), _MAX_ROWS):,} of {len(rows):,} {name}, "
            f"{unit_count:,} of {hidden:,} units; --json or --npy FILE gives all"
        )


def print_info(info: ServerInfo) -> None:
    """Prints one line per property of the server."""
    console = Console()
    content = asdict(info)
    limits, vectors = content.pop("limits"), content.pop("vectors", ())
    tables = {
        f"vectors {it['name']}": f"{it['word_count']:,} words, {it['size']} values, digest {it['digest']}"
        for it in vectors
    }
    table = Table.grid(padding=(0, 2))
    for name, value in {**content, **limits, **tables}.items():
        text = f"{value:,}" if isinstance(value, int) else value
        table.add_row(*(Text(printable(cell, encoding=console.encoding)) for cell in (name, text)))
    console.print(table)


def _caption(result: Result) -> str:
    axes = "(batch, hidden)" if result.network.is_pooled else "(batch, seq, hidden)"
    network = result.network
    if network.vectors is not None:
        source = f"vectors {network.vectors}"
    elif network.word_embedding_size is not None:
        source = f"word_embedding_size {network.word_embedding_size}"
    else:
        source = f"alphabet {result.alphabet[:_MAX_SYMBOLS]}"
        if len(result.alphabet) > _MAX_SYMBOLS:
            source += f" and {len(result.alphabet) - _MAX_SYMBOLS:,} more"
    return f"{axes} = {result.outputs.shape}, layout {result.layout}, {source}"


def _rows(result: Result) -> Iterator[tuple[str, str, list[float]]]:
    """Yields (word, symbol, states): the word only at its first symbol. Pooled: one row per word."""
    for word, states in zip(result.words, result.outputs, strict=True):
        if result.network.is_pooled:
            yield word, result.network.output, states.tolist()
            continue
        for position, symbol in enumerate(result.network.symbols(word)):
            yield "" if position else word, symbol, states[position].tolist()
