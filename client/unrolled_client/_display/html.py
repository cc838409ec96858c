"""The HTML table by which a notebook shows a result."""

from collections.abc import Iterator, Sequence
from html import escape
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from unrolled_client._display.printable import printable
from unrolled_client.network import Network

_MAX_ROWS = 10
_MAX_UNITS = 8
_MAX_LETTERS = 24  # of a word


def html_table(
    outputs: NDArray[np.float32],
    *,
    words: Sequence[str],
    lengths: NDArray[np.int64],
    network: Network,
    caption: Sequence[str],
) -> str:
    """Returns a table of the first states, without colours, so that it suits light and dark pages."""
    unit_count = min(outputs.shape[-1], _MAX_UNITS)
    row_count = len(words) if network.is_pooled else int(lengths.sum())
    names = ["", "word"] if network.is_pooled else ["", "word", "position", "symbol"]
    head = _row("th", [*names, *(f"h{unit}" for unit in range(unit_count))])
    rows = islice(_rows(outputs[..., :unit_count], words=words, network=network), _MAX_ROWS)
    body = "".join(_row("td", row) for row in rows)
    lines = [*caption]
    if row_count > _MAX_ROWS or outputs.shape[-1] > unit_count:
        lines.append(
            f"shown: {min(row_count, _MAX_ROWS):,} of {row_count:,} rows, "
            f"{unit_count:,} of {outputs.shape[-1]:,} units"
        )
    text = "<br>".join(escape(printable(line)) for line in lines)
    style = "caption-side: top; text-align: left; white-space: nowrap"
    return (
        f'<table><caption style="{style}">{text}</caption><thead>{head}</thead><tbody>{body}</tbody></table>'
    )


def _rows(outputs: NDArray[np.float32], *, words: Sequence[str], network: Network) -> Iterator[list[str]]:
    """Yields the cells of each state: its word's index and, at a word's first state, the word."""
    for index, (word, states) in enumerate(zip(words, outputs, strict=True)):
        name = word if len(word) <= _MAX_LETTERS else word[: _MAX_LETTERS - 1] + "…"
        if network.is_pooled:
            yield [str(index), name, *map(_shown, states)]
            continue
        for position, symbol in enumerate(network.symbols(word)):
            yield [
                str(index),
                "" if position else name,
                str(position),
                symbol,
                *map(_shown, states[position]),
            ]


def _shown(state: np.float32) -> str:
    return f"{state:.4g}"


def _row(tag: str, cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(printable(cell))}</{tag}>" for cell in cells) + "</tr>"
