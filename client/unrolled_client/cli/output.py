"""Results on standard output: tables for people, JSON for programs."""

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from unrolled_client import Result, ServerInfo
from unrolled_client._display.printable import printable

_MAX_ROWS = 60
_MAX_SYMBOLS = 40
_MIN_STATE_WIDTH = 7
_MAX_NAME_WIDTH = 20
_FRAME_WIDTH = 3  # of a column: two blanks and a line


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
    whole, part = ("sentence", "word") if network.reads_sentences else ("word", "letter")
    header = (whole, "states" if network.is_pooled else part)
    names = [(shown(word), shown(symbol)) for word, symbol, _ in rows[:_MAX_ROWS]]
    most = console.width // _MIN_STATE_WIDTH
    numbers = [[f"{state:.4f}" for state in states[:most]] for *_, states in rows[:_MAX_ROWS]]
    unit_count = min(hidden, _count_columns(console.width, [header, *names], numbers))
    table = Table(
        *(Column(name, max_width=_MAX_NAME_WIDTH, no_wrap=True) for name in header),
        *(Column(f"h{unit}", justify="right", no_wrap=True) for unit in range(unit_count)),
    )
    for row_names, row in zip(names, numbers, strict=True):
        table.add_row(*map(Text, row_names), *row[:unit_count])
    console.print(table)
    typer.echo(shown(_caption(result)))
    if len(rows) > _MAX_ROWS or hidden > unit_count:
        name = f"{whole}s" if network.is_pooled else f"{part}s"
        typer.echo(
            f"shown: {min(len(rows), _MAX_ROWS):,} of {len(rows):,} {name}, "
            f"{unit_count:,} of {hidden:,} units; --json or --npy FILE gives all"
        )


def _count_columns(width: int, names: list[tuple[str, str]], numbers: list[list[str]]) -> int:
    """Returns how many columns of whole numbers fit beside two of names; at least 1."""
    lengths = [min(max(map(cell_len, column)), _MAX_NAME_WIDTH) for column in zip(*names, strict=True)]
    longest = max((len(number) for row in numbers for number in row), default=0)
    room = width - 1 - sum(_FRAME_WIDTH + length for length in lengths)
    return max(1, room // (_FRAME_WIDTH + max(longest, _MIN_STATE_WIDTH)))


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
