"""Pictures in a terminal: a row a letter, a column a unit, as colours or, where there are none, as digits."""

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

from unrolled_client.cli.plot_data import SPACE, Picture, spell_out, tick_step
from unrolled_client.cli.printable import has

# From blue over white to red: ColorBrewer's RdBu (Cynthia Brewer, Penn State), which matplotlib has as
# RdBu_r. A terminal's own 256 colours have only distant cousins of it, chosen by eye for an even run.
_RED_BLUE = (
    (5, 48, 97),
    (33, 102, 172),
    (67, 147, 195),
    (146, 197, 222),
    (209, 229, 240),
    (247, 247, 247),
    (253, 219, 199),
    (244, 165, 130),
    (214, 96, 77),
    (178, 24, 43),
    (103, 0, 31),
)
_RED_BLUE_256 = (17, 25, 32, 74, 153, 255, 224, 216, 209, 160, 88)
_SHADES = 255
_SHOWN_ROWS = 60
_LABEL_WIDTH = 20
_INDENT = 2
_CELL_WIDTH = 4
_DIGIT_WIDTH = 3
_LEGEND_WIDTH = 24
_SEPARATOR = " "


@dataclass(frozen=True, slots=True, kw_only=True)
class _Grid:
    """How a picture fits a terminal; widths in columns.

    Attributes:
        label_width: Of the rows' names.
        cell_width: Of one state.
        unit_count: The units shown of each direction.
        palette: Colours from -limit to limit; none on a terminal with less than 256, where states are digits.
    """

    label_width: int
    cell_width: int
    unit_count: int
    palette: list[Color]


def draw(picture: Picture, console: Console) -> None:
    """Prints what fits the console, and says what was left out."""
    picture = spell_out(picture, lambda symbol: symbol == SPACE or has(console.encoding, symbol))
    grid = _fit(picture, console)
    for line in _lines(picture, grid):
        console.print(line, overflow="ellipsis")


def _fit(picture: Picture, console: Console) -> _Grid:
    labels = [label for panel in picture.panels for label in panel.labels]
    label_width = min(max(map(cell_len, labels)), _LABEL_WIDTH)
    directions = len(picture.directions)
    room = (console.width - _INDENT - label_width) // directions - len(_SEPARATOR)
    palette = [] if console.no_color else _palette(console.color_system)
    narrowest = math.ceil(max(map(len, picture.directions)) / picture.units)
    cell_width = min(_CELL_WIDTH, room // picture.units) if palette else _DIGIT_WIDTH
    cell_width = max(cell_width, narrowest, 1)
    return _Grid(
        label_width=label_width,
        cell_width=cell_width,
        unit_count=max(min(picture.units, room // cell_width), 1),
        palette=palette,
    )


def _palette(color_system: str | None) -> list[Color]:
    """The colours of a terminal, from the lowest state to the highest."""
    if color_system == "256":
        return [Color.from_ansi(number) for number in _RED_BLUE_256]
    if color_system != "truecolor":
        return []
    places = np.linspace(0, len(_RED_BLUE) - 1, _SHADES)
    channels = [np.interp(places, range(len(_RED_BLUE)), channel) for channel in zip(*_RED_BLUE, strict=True)]
    return [Color.from_rgb(*shade) for shade in np.rint(channels).astype(int).T.tolist()]


def _lines(picture: Picture, grid: _Grid) -> Iterator[Text]:
    yield Text(picture.title, style="bold")
    yield Text()
    yield from _header(picture, grid)
    row_count = 0
    for panel in picture.panels:
        labels = panel.labels[: _SHOWN_ROWS - row_count]
        row_count += len(labels)
        if labels:
            yield Text(panel.title, style="bold", no_wrap=True)
        for label, states in zip(labels, panel.states, strict=False):
            yield _row(label, states.reshape(len(picture.directions), -1), picture.limit, grid)
    yield Text()
    yield _legend(picture.limit, grid)
    yield from _note(picture, grid, row_count)


def _header(picture: Picture, grid: _Grid) -> Iterator[Text]:
    """The directions, if there are two, and the units' numbers, where they have room."""
    width = grid.unit_count * grid.cell_width
    step = tick_step(count=grid.unit_count, room=width, size=len(f"{grid.unit_count - 1} "))
    shown = [
        str(unit)
        for unit in range(0, grid.unit_count, step)
        if unit * grid.cell_width + len(str(unit)) <= width
    ]
    numbers = "".join(unit.ljust(step * grid.cell_width) for unit in shown)
    for names in (picture.directions, [numbers] * len(picture.directions)):
        line = _line("", (f"{name:{width}.{width}}" for name in names), grid)
        line.rstrip()
        if line:
            yield line


def _row(label: str, states: NDArray[np.float32], limit: float, grid: _Grid) -> Text:
    """One position: its name and its states, (directions, units)."""
    cells = (
        Text.assemble(*(_cell(state / limit, grid) for state in direction))
        for direction in states[:, : grid.unit_count].astype(float)
    )
    return _line(label, cells, grid)


def _line(label: str, parts: Iterable[Text | str], grid: _Grid) -> Text:
    """A row's name in its column, and what stands to its right."""
    name = Text(label)
    name.truncate(grid.label_width, overflow="ellipsis", pad=True)
    pieces = [piece for part in parts for piece in (_SEPARATOR, part)]
    return Text.assemble(" " * _INDENT, name, *pieces, no_wrap=True)


def _cell(level: float, grid: _Grid) -> Text:
    """A state as a share of the largest, from -1 to 1: a colour, or a digit for each ninth."""
    if math.isnan(level):
        return Text("?".center(grid.cell_width))
    level = min(max(level, -1.0), 1.0)
    if not grid.palette:
        return Text(f"{round(9 * level):{grid.cell_width}}")
    color = grid.palette[round((level + 1) / 2 * (len(grid.palette) - 1))]
    return Text(" " * grid.cell_width, style=Style(bgcolor=color))


def _legend(limit: float, grid: _Grid) -> Text:
    if not grid.palette:
        return Text(f"9 is {limit:.3g}, -9 is {-limit:.3g}")
    narrow = replace(grid, cell_width=1)
    levels = np.linspace(-1, 1, _LEGEND_WIDTH).tolist()
    return Text.assemble(f"{-limit:.3g} ", *(_cell(level, narrow) for level in levels), f" {limit:.3g}")


def _note(picture: Picture, grid: _Grid, row_count: int) -> Iterator[Text]:
    if row_count < picture.row_count or grid.unit_count < picture.units:
        each = " of each direction" if len(picture.directions) > 1 else ""
        yield Text(
            f"shown: {row_count:,} of {picture.row_count:,} {picture.label_name}s, "
            f"{grid.unit_count:,} of {picture.units:,} units{each}; --save FILE.png draws more"
        )
