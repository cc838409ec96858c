"""Drawings in files: a panel per word, with a column per letter and a row per unit. Imports matplotlib."""

import functools
import math
import warnings
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from textwrap import wrap

import matplotlib as mpl
import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.textpath import text_to_path
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from unrolled_client.cli.plot_data import Picture, escape_labels

_DPI = 150
# The font comes with matplotlib, so that letters are the same everywhere.
_FONT = FontProperties(family="DejaVu Sans", size=9)
_STYLE = {
    "axes.titlesize": 9,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.1,
    "figure.dpi": _DPI,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "svg.fonttype": "none",  # text, so that a viewer's fonts show the letters that DejaVu Sans lacks
    "svg.hashsalt": "unrolled",  # else ids are random
} | {f"axes.spines.{side}": False for side in ("bottom", "left", "right", "top")}
# No dates: equal states make equal files.
_METADATA = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
_COLORS = mpl.colormaps["RdBu_r"].with_extremes(bad="0.6")
_MAX_PANELS = 24
_MAX_POOLED_WORDS = 1000
_MAX_LABEL = 16  # letters
_MIN_COLUMNS = 6  # so that a short word's title has room
# Sizes in inches, from which the size of the figure follows; constrained layout does the rest.
_CELL = 0.28
_LINE = 0.17
_LETTER = 0.1
_GAP = 0.25
_MARGINS = 1.7  # for the numbers of the units and the scale
_MIN_UNITS, _MAX_UNITS = 1.0, 4.0
_MAX_WIDTH, _MAX_HEIGHT = 10.0, 12.0


def save(picture: Picture, *, kind: str, write: Callable[[bytes], object]) -> str:
    """Draws a picture as the content of a file and returns a note on words that were left out, or "".

    Args:
        picture: The picture to draw.
        kind: "png", "svg" or "pdf".
        write: Takes the content.

    Raises:
        OSError: The content cannot be written.
    """
    shown = _cut(picture)
    content = BytesIO()
    with mpl.style.context(["default", _STYLE]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as those about letters that an SVG leaves to its viewer
        figure = _draw(shown if kind == "svg" else escape_labels(shown, _has_glyph))
        figure.savefig(content, format=kind, metadata=_METADATA[kind])
    write(content.getvalue())
    word_count, shown_count = (len(p.panels[0].labels if p.is_pooled else p.panels) for p in (picture, shown))
    return f"drawn: {shown_count:,} of {word_count:,} words" if shown_count < word_count else ""


def _cut(picture: Picture) -> Picture:
    if not picture.is_pooled:
        return replace(picture, panels=picture.panels[:_MAX_PANELS])
    [panel] = picture.panels
    labels, states = panel.labels[:_MAX_POOLED_WORDS], panel.states[:_MAX_POOLED_WORDS]
    return replace(picture, panels=[replace(panel, labels=labels, states=states)])


def _has_glyph(symbol: str) -> bool:
    return ord(symbol) in _glyphs()


@functools.cache
def _glyphs() -> frozenset[int]:
    return frozenset(get_font(findfont(_FONT)).get_charmap())


def _draw(picture: Picture) -> Figure:
    figure, axes_beside_scale = _draw_pooled(picture) if picture.is_pooled else _draw_words(picture)
    scale = figure.colorbar(
        figure.axes[0].images[0],
        ax=axes_beside_scale,
        ticks=(-1, -0.5, 0, 0.5, 1),
        format=lambda share, _: f"{share * picture.limit:.3g}",
        aspect=12,
        anchor=(0, 1),
        shrink=min(_MAX_UNITS / figure.get_figheight(), 1) if picture.is_pooled else 1,
    )
    scale.outline.set_visible(False)
    title = wrap(picture.title, int(figure.get_figwidth() / _LETTER))
    figure.set_figheight(figure.get_figheight() + len(title) * _LINE)
    figure.suptitle("\n".join(title), x=0.02, ha="left", size=9, weight="bold", parse_math=False)
    return figure


def _draw_words(picture: Picture) -> tuple[Figure, list[Axes]]:
    """Draws a grid of panels; the directions of a word stand one above the other."""
    labels, directions = [panel.labels for panel in picture.panels], len(picture.directions)
    cells = max(*map(len, labels), _MIN_COLUMNS)
    width = min(cells * _CELL, _MAX_WIDTH)
    height = min(max(picture.unit_count * _CELL, _MIN_UNITS), _MAX_UNITS)
    columns = max(min(len(labels), int(_MAX_WIDTH / (width + _GAP))), 1)
    rows = math.ceil(len(labels) / columns)
    row_height = directions * (height + _GAP) + _room(labels) + _LINE
    figure = Figure(figsize=(columns * (width + _GAP) + _MARGINS, rows * row_height + _LINE))
    grid = figure.subplots(rows * directions, columns, squeeze=False)
    by_word = grid.reshape(rows, directions, columns).swapaxes(1, 2).reshape(-1, directions)
    for axes in by_word[len(labels) :].flat:
        axes.remove()
    for panel, word_axes in zip(picture.panels, by_word, strict=False):
        word_axes[0].set_title(_shortened(panel.title, width), loc="left", parse_math=False)
        parts = np.split(panel.states.T, directions)
        for axes, name, states in zip(word_axes, picture.directions, parts, strict=True):
            _show(axes, states, picture.limit)
            is_first_column = axes.get_subplotspec().is_first_col()
            axes.set(xlim=(-0.5, cells - 0.5), ylabel=(name or "unit") if is_first_column else "")
            axes.tick_params(labelleft=is_first_column, labelbottom=axes is word_axes[-1])
            _number(axes.yaxis)
            _name(axes.xaxis, panel.labels, room=width * len(panel.labels) / cells)
    return figure, [by_word[columns - 1, 0]]


def _draw_pooled(picture: Picture) -> tuple[Figure, list[Axes]]:
    """Draws a panel for each direction, side by side, with a row per word."""
    [panel] = picture.panels
    directions = len(picture.directions)
    width = min(max(picture.unit_count * _CELL, _MIN_UNITS), _MAX_WIDTH / directions)
    height = min(max(len(panel.labels) * _CELL, _MIN_UNITS), _MAX_HEIGHT)
    size = directions * (width + _GAP) + _room([panel.labels]) + _MARGINS, height + 5 * _LINE
    figure = Figure(figsize=size)
    grid = figure.subplots(1, directions, squeeze=False)[0]
    parts = np.split(panel.states, directions, axis=1)
    for axes, name, states in zip(grid, picture.directions, parts, strict=True):
        _show(axes, states, picture.limit)
        axes.set_xlabel(name or "unit")
        axes.tick_params(labelleft=axes is grid[0])
        _number(axes.xaxis)
        _name(axes.yaxis, panel.labels, room=height)
    return figure, [*grid]


def _show(axes: Axes, states: NDArray[np.float32], limit: float) -> None:
    axes.imshow(
        np.clip(states / limit, -1, 1),
        cmap=_COLORS,
        vmin=-1,
        vmax=1,
        aspect="auto",
        interpolation="none" if max(states.shape) < _MAX_UNITS * _DPI else "antialiased",
    )


def _number(axis: Axis) -> None:
    axis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))


def _name(axis: Axis, labels: list[str], *, room: float) -> None:
    """Labels an axis with as many labels as there is room for."""
    step = math.ceil(len(labels) * _LINE / room)
    names = [label if len(label) <= _MAX_LABEL else label[: _MAX_LABEL - 1] + "…" for label in labels[::step]]
    axis.set_ticks(range(0, len(labels), step), labels=names, parse_math=False)
    if axis is axis.axes.xaxis and max(map(len, names)) > 1:
        axis.set_tick_params(labelrotation=90)


def _room(labels: list[list[str]]) -> float:
    """Returns about the length of the longest label."""
    return min(max(len(label) for part in labels for label in part), _MAX_LABEL) * _LETTER


def _shortened(text: str, room: float) -> str:
    if _width(text) <= room:
        return text
    fitting = bisect_right(range(len(text)), room, key=lambda count: _width(text[:count] + "…"))
    return text[: max(fitting - 1, 0)] + "…"


def _width(text: str) -> float:
    width, _, _ = text_to_path.get_text_width_height_descent(text, _FONT, ismath=False)
    return width / 72
