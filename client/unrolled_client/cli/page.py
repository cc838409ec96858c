"""Where everything of a picture stands on a page, in inches; nothing here draws.

A file of its own because cells must keep a size that can be read, and no label may meet another, from one
word of two units to dozens of words of thousands. All sizes are whole multiples of a fiftieth of an inch,
which is three pixels: boxes between pixels get a white rim.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from textwrap import wrap

from unrolled_client.cli.plot_data import Picture

CELL = 0.28
"""The side of a cell where there is room."""
LINE = 0.18
"""From one line of text to the next."""
GAP = 0.2
"""Between panels."""
EDGE = 0.16
"""Between a page's edge and what stands on it."""

_GRID = 50
_MAX_WIDTH = 10.0
_MAX_UNITS = 4.0
_MAX_WORDS = 12.0
_MIN_DIRECTION = 0.8  # or its name does not fit
_MIN_WIDTH = 3.6
_ROOM_BESIDE = 0.66  # for the units' numbers and the name of the direction
_ROOM_BELOW = 0.46
_BAR = 0.16
_MIN_BAR = 0.6
_BAR_NUMBERS = 0.84  # such as -1.23e+05
_LETTERS = 13  # of the title, an inch


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A place; from the page's left and upper edges."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page and what stands on it.

    Attributes:
        width: Of the page.
        height: Of the page.
        title: Its lines, from the upper edge down.
        panels: One box for each panel.
        bar: The scale's box.
    """

    width: float
    height: float
    title: list[str]
    panels: list[Box]
    bar: Box


def lay_out(picture: Picture, *, label_room: float) -> Page:
    """Panels from left to right, row by row, with the scale to their right and the title above.

    Args:
        picture: What is to be drawn.
        label_room: What the names of letters and words take away from the panels.
    """
    label_room = math.ceil(label_room * _GRID) / _GRID
    left, below = EDGE + _ROOM_BESIDE, label_room
    if picture.is_pooled:
        left, below = EDGE + label_room, _ROOM_BELOW
    sizes = [_size(picture, len(panel.labels)) for panel in picture.panels]
    panels = list(_flow(sizes, left=left, below=below))
    right = max(box.left + box.width for box in panels) + GAP
    width = max(right + _BAR + _BAR_NUMBERS, _MIN_WIDTH)
    title = wrap(picture.title, int((width - 2 * EDGE) * _LETTERS))
    top = EDGE + len(title) * LINE + GAP / 2
    panels = [replace(box, top=box.top + top) for box in panels]
    return Page(
        width=width,
        height=panels[-1].top + panels[-1].height + below + EDGE,
        title=title,
        panels=panels,
        bar=Box(
            left=right, top=panels[0].top, width=_BAR, height=min(max(panels[0].height, _MIN_BAR), _MAX_UNITS)
        ),
    )


def _size(picture: Picture, label_count: int) -> tuple[float, float]:
    """A panel's width and height."""
    longest = _MAX_WIDTH if picture.is_pooled else _MAX_UNITS
    units = min(max(picture.hidden * CELL, len(picture.directions) * _MIN_DIRECTION), longest)
    if picture.is_pooled:
        return units, min(label_count * CELL, _MAX_WORDS)
    return min(label_count * CELL, _MAX_WIDTH), units


def _flow(sizes: list[tuple[float, float]], *, left: float, below: float) -> Iterator[Box]:
    """Boxes in rows that keep to a width, each under a line for its title."""
    at, top = left, LINE
    for width, height in sizes:
        if at > left and at + width > left + _MAX_WIDTH:
            at, top = left, top + height + below + GAP + LINE
        yield Box(left=at, top=top, width=width, height=height)
        at += width + GAP
