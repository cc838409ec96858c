"""Drawings in a terminal: a row per letter, a column per unit, as colours or, without colours, as digits."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from rich.cells import cell_len
from rich.color import Color
from rich.console import Console
from rich.style import Style
from rich.text import Text

from unrolled_client._display.picture import SPACE, Picture, escape_labels
from unrolled_client._display.printable import has

# Blue, white, red: ColorBrewer's RdBu (Cynthia Brewer, Penn State), which matplotlib has as RdBu_r.
_SHADES = np.frombuffer(
    bytes.fromhex("053061 2166ac 4393c3 92c5de d1e5f0 f7f7f7 fddbc7 f4a582 d6604d b2182b 67001f"), np.uint8
).reshape(-1, 3)
_MAX_ROWS = 60
_MAX_LABEL_WIDTH = 20
_COLOR_WIDTH = 4
_DIGIT_WIDTH = 3
_SCALE_WIDTH = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class _Grid:
    """The columns of a drawing: two spaces, a label, then a space and the units of each direction."""

    label_width: int
    cell_width: int
    unit_count: int
    has_colors: bool


def draw(picture: Picture, console: Console) -> None:
    """Prints the rows and units that fit, and how many do not."""
    picture = escape_labels(picture, lambda symbol: symbol == SPACE or has(console.encoding, symbol))
    for line in _lines(picture, _fit(picture, console)):
        console.print(line, overflow="ellipsis")


def _fit(picture: Picture, console: Console) -> _Grid:
    # Rich finds the nearest of 256 colours; 16 colours have too few shades of red and blue.
    has_colors = not console.no_color and console.color_system in {"256", "truecolor"}
    label_widths = (cell_len(label) for panel in picture.panels for label in panel.labels)
    label_width = min(max(label_widths, default=0), _MAX_LABEL_WIDTH)
    room = (console.width - 2 - label_width) // len(picture.directions) - 1
    cell_width = min(_COLOR_WIDTH, room // picture.unit_count) if has_colors else _DIGIT_WIDTH
    min_width = math.ceil(max(map(len, picture.directions)) / picture.unit_count)  # for a direction's name
    cell_width = max(cell_width, min_width, 1)
    return _Grid(
        label_width=label_width,
        cell_width=cell_width,
        unit_count=max(min(picture.unit_count, room // cell_width), 1),
        has_colors=has_colors,
    )


def _lines(picture: Picture, grid: _Grid) -> Iterator[Text]:
    yield Text(picture.title, style="bold")
    yield Text()
    yield from _header(picture, grid)
    row_count = 0
    for panel in picture.panels:
        labels = panel.labels[: _MAX_ROWS - row_count]
        row_count += len(labels)
        if labels:
            yield Text(panel.title, style="bold", no_wrap=True)
        levels = panel.states[: len(labels)].astype(float) / picture.limit
        for label, row in zip(labels, levels, strict=True):
            parts = np.split(row, len(picture.directions))
            yield _line(label, (_cells(part[: grid.unit_count], grid) for part in parts), grid)
    yield Text()
    yield _scale(picture.limit, grid)
    if row_count < picture.row_count or grid.unit_count < picture.unit_count:
        each = " of each direction" if len(picture.directions) > 1 else ""
        yield Text(
            f"shown: {row_count:,} of {picture.row_count:,} {picture.row_name}s, "
            f"{grid.unit_count:,} of {picture.unit_count:,} units{each}; --save FILE.png draws more"
        )


def _header(picture: Picture, grid: _Grid) -> Iterator[Text]:
    """Yields the directions' names, if there are two, and the numbers of as many units as fit."""
    width = grid.unit_count * grid.cell_width
    digits = len(str(grid.unit_count - 1))
    step = next(number for number in (1, 2, 5, 10) if number * grid.cell_width > digits)
    units = range(0, grid.unit_count - math.ceil(digits / grid.cell_width) + 1, step)
    numbers = "".join(str(unit).ljust(step * grid.cell_width) for unit in units)
    if picture.directions != ("",):
        yield _line("", (f"{name:{width}.{width}}" for name in picture.directions), grid)
    yield _line("", [f"{numbers:{width}.{width}}"] * len(picture.directions), grid)


def _line(label: str, parts: Iterable[Text | str], grid: _Grid) -> Text:
    name = Text(label)
    name.truncate(grid.label_width, overflow="ellipsis", pad=True)
    line = Text.assemble("  ", name, *(piece for part in parts for piece in (" ", part)), no_wrap=True)
    if not label:  # a header
        line.rstrip()
    return line


def _cells(levels: NDArray[np.float64], grid: _Grid) -> Text:
    """Returns states, as shares of the limit, as coloured cells or as the digits -9 to 9."""
    levels, missing = np.clip(levels, -1, 1), "?".center(grid.cell_width)
    if not grid.has_colors:
        digits = (missing if np.isnan(level) else f"{round(9 * level):{grid.cell_width}}" for level in levels)
        return Text("".join(digits))
    places = (np.nan_to_num(levels) + 1) / 2 * (len(_SHADES) - 1)
    channels = [np.interp(places, range(len(_SHADES)), channel) for channel in _SHADES.T]
    colors = [Style(bgcolor=Color.from_rgb(*rgb)) for rgb in np.rint(channels).astype(int).T.tolist()]
    blank = " " * grid.cell_width
    return Text.assemble(
        *((missing, "") if np.isnan(x) else (blank, color) for x, color in zip(levels, colors, strict=True))
    )


def _scale(limit: float, grid: _Grid) -> Text:
    if not grid.has_colors:
        return Text(f"9 is {limit:.3g}, -9 is {-limit:.3g}")
    narrow = replace(grid, cell_width=1)
    levels = np.linspace(-1, 1, _SCALE_WIDTH)
    return Text.assemble(f"{-limit:.3g} ", _cells(levels, narrow), f" {limit:.3g}")
