"""Drawings in files and notebooks: a panel per word, a column per letter, a row per unit; by matplotlib."""

import functools
import math
import warnings
from dataclasses import replace
from io import BytesIO
from textwrap import wrap
from typing import TypeVar

import matplotlib as mpl
import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.ticker import MaxNLocator

from unrolled_client._display.picture import Panel, Picture, escape_labels

_Figure = TypeVar("_Figure", bound=Figure)

_DPI = 150
_FONT = "DejaVu Sans"  # comes with matplotlib, so that letters are the same everywhere
_STYLE = {
    "axes.titlesize": 9,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.1,
    "figure.dpi": _DPI,
    "font.family": "sans-serif",
    "font.sans-serif": [_FONT],
    "font.size": 9,
    "svg.fonttype": "none",  # text, so that a viewer's fonts show the letters that DejaVu Sans lacks
    "svg.hashsalt": "unrolled",  # else ids are random
} | {f"axes.spines.{side}": False for side in ("bottom", "left", "right", "top")}
# No dates: equal states make equal files.
_METADATA = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
_COLORS = mpl.colormaps["RdBu_r"].with_extremes(bad="0.6")
_MAX_PANELS = 24
_MAX_COLUMNS = 1000  # of a panel
_MIN_COLUMNS = 7  # so that a short word's title has room
_MAX_LABEL = 16  # letters
# Sizes in inches, from which the size of the figure follows; constrained layout does the rest.
_CELL = 0.28
_LINE = 0.17
_LETTER = 0.1
_GAP = 0.25
_MARGINS = 1.7  # for the numbers of the units and the scale
_MAX_WIDTH = 10.0
_MIN_HEIGHT, _MAX_HEIGHT = 1.0, 4.0


def render(picture: Picture, *, kind: str) -> tuple[bytes, str]:
    """Returns the picture as a "png", "svg" or "pdf", and a note on what was left out, or ""."""
    shown, note = _cut(picture)
    content = BytesIO()
    with mpl.style.context(["default", _STYLE]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as those about letters that an SVG leaves to its viewer
        figure = _draw(shown if kind == "svg" else escape_labels(shown, _has_glyph), Figure())
        figure.savefig(content, format=kind, metadata=_METADATA[kind])
    return content.getvalue(), note


class Drawing(Figure):
    """A figure that a notebook shows even if nothing has imported pyplot."""

    def _repr_png_(self) -> bytes:
        content = BytesIO()
        with mpl.style.context(["default", _STYLE]):
            self.savefig(content, format="png")
        return content.getvalue()


def draw(picture: Picture) -> Drawing:
    """Returns the picture as a figure, which pyplot does not know; its title says what was left out."""
    shown, note = _cut(picture)
    title = f"{picture.title}; {note}" if note else picture.title
    with mpl.style.context(["default", _STYLE]):
        return _draw(escape_labels(replace(shown, title=title), _has_glyph), Drawing())


def _cut(picture: Picture) -> tuple[Picture, str]:
    """Returns as much of the picture as is drawn, and a note on what was left out, or ""."""
    panels = [
        replace(panel, labels=panel.labels[:_MAX_COLUMNS], states=panel.states[:_MAX_COLUMNS])
        for panel in picture.panels[:_MAX_PANELS]
    ]
    shown = replace(picture, panels=panels)
    if shown.row_count == picture.row_count:
        return shown, ""
    return shown, f"drawn: {shown.row_count:,} of {picture.row_count:,} {picture.row_name}s"


def _has_glyph(symbol: str) -> bool:
    return ord(symbol) in _glyphs()


@functools.cache
def _glyphs() -> frozenset[int]:
    return frozenset(get_font(findfont(_FONT)).get_charmap())


def _draw(picture: Picture, figure: _Figure) -> _Figure:
    """Draws a grid of words; the directions of a word are panels above each other."""
    word_count, direction_count = len(picture.panels), len(picture.directions)
    cells = max(*(len(panel.labels) for panel in picture.panels), _MIN_COLUMNS)
    width = min(cells * _CELL, _MAX_WIDTH)
    columns = max(min(word_count, int(_MAX_WIDTH / (width + _GAP))), 1)
    rows = math.ceil(word_count / columns)
    grid = figure.subplots(rows * direction_count, columns, squeeze=False)
    by_word = grid.reshape(rows, direction_count, columns).swapaxes(1, 2).reshape(-1, direction_count)
    for axes in by_word[word_count:].flat:
        axes.remove()
    for panel, word_axes in zip(picture.panels, by_word, strict=False):
        _draw_panel(panel, picture, [*word_axes], cells=cells, width=width)
    for row, axes in enumerate(grid[:, 0]):
        axes.set_ylabel(picture.directions[row % direction_count] or "unit")
    for axes in grid[:, 1:].flat:
        axes.tick_params(labelleft=False)
    scale = figure.colorbar(
        grid[0, 0].images[0],
        ax=grid[0, -1],
        aspect=12,
        anchor=(0, 1),
        ticks=(-1, -0.5, 0, 0.5, 1),
        format=lambda share, _: f"{share * picture.limit:.3g}",
    )
    scale.outline.set_visible(False)
    page_width = columns * (width + _GAP) + _MARGINS
    title = wrap(picture.title, int(page_width / _LETTER))
    figure.suptitle("\n".join(title), x=0.02, ha="left", size=9, weight="bold", parse_math=False)
    unit_height = min(max(picture.unit_count * _CELL, _MIN_HEIGHT), _MAX_HEIGHT)
    label_lengths = (len(label) for panel in picture.panels for label in panel.labels)
    label_height = min(max(label_lengths, default=0), _MAX_LABEL) * _LETTER
    row_height = direction_count * (unit_height + _GAP) + label_height + _LINE
    figure.set_size_inches(page_width, rows * row_height + (1 + len(title)) * _LINE)
    return figure


def _draw_panel(panel: Panel, picture: Picture, word_axes: list[Axes], *, cells: int, width: float) -> None:
    """Draws a word's directions, each at the left of a panel that has room for `cells` letters."""
    word_axes[0].set_title(_shortened(panel.title, int(width / _LETTER)), loc="left", parse_math=False)
    names = [_shortened(label, _MAX_LABEL) for label in panel.labels]
    step = math.ceil(cells * _LINE / width)
    parts = np.split(np.clip(panel.states.T / picture.limit, -1, 1), len(word_axes))
    for axes, states in zip(word_axes, parts, strict=True):
        is_exact = max(states.shape) < _MAX_HEIGHT * _DPI  # else several states share a pixel
        interpolation = "none" if is_exact else "antialiased"
        if not names:  # matplotlib warns of an image without columns
            states = np.full((len(states), 1), np.nan, np.float32)  # noqa: PLW2901 - the same, blank
        axes.imshow(states, cmap=_COLORS, vmin=-1, vmax=1, aspect="auto", interpolation=interpolation)
        axes.set_xlim(-0.5, cells - 0.5)
        axes.tick_params(labelbottom=axes is word_axes[-1])
        axes.yaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
        rotation = 90 if max(map(len, names), default=0) > 1 else 0
        axes.set_xticks(range(0, len(names), step), names[::step], parse_math=False, rotation=rotation)


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
