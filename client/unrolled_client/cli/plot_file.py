"""Pictures in files: a column a letter, a row a unit. The only place that imports matplotlib."""

import functools
import warnings
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO

import matplotlib as mpl
import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.textpath import text_to_path
from numpy.typing import NDArray

from unrolled_client.cli.page import CELL, EDGE, GAP, LINE, Box, Page, lay_out
from unrolled_client.cli.plot_data import Panel, Picture, spell_out, tick_step

_DPI = 150
# It comes with matplotlib, so that letters are the same everywhere.
_FONT = FontProperties(family="DejaVu Sans", size=9)
_LOOK = {
    "axes.linewidth": 0.6,
    "axes.titlesize": 9,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "svg.fonttype": "none",  # text, so that a viewer's fonts give the letters that DejaVu does not have
    "svg.hashsalt": "unrolled",  # else ids are random
    "text.hinting": "none",  # letters as wide as they are measured to be
    "xtick.major.size": 2,
    "ytick.major.size": 2,
}
# No dates: equal states make equal files.
_METADATA = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
_COLORS = mpl.colormaps["RdBu_r"].with_extremes(bad="0.6")
_MAX_LABEL = 1.6
_SHOWN_PANELS = 24
_SHOWN_POOLED = 1000


def save(picture: Picture, *, kind: str, write: Callable[[bytes], object]) -> str:
    """Draws a picture as the content of a file; returns what was left out, if anything was.

    Args:
        picture: What to draw.
        kind: "png", "svg" or "pdf".
        write: Takes the content.

    Raises:
        OSError: The content cannot be written.
    """
    shown = _cut(picture)
    content = BytesIO()
    with mpl.style.context(["default", _LOOK]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # left for an SVG's viewer
        figure = _draw(shown if kind == "svg" else spell_out(shown, _has_glyph))
        figure.savefig(content, format=kind, dpi=_DPI, metadata=_METADATA[kind])
    write(content.getvalue())
    if picture.is_pooled and shown.row_count < picture.row_count:
        return f"drawn: {shown.row_count:,} of {picture.row_count:,} words"
    if len(shown.panels) < len(picture.panels):
        return f"drawn: {len(shown.panels):,} of {len(picture.panels):,} words"
    return ""


def _cut(picture: Picture) -> Picture:
    """The words that fit a page."""
    panels = picture.panels[:_SHOWN_PANELS]
    if picture.is_pooled:
        panels = [
            replace(panel, labels=panel.labels[:_SHOWN_POOLED], states=panel.states[:_SHOWN_POOLED])
            for panel in panels
        ]
    return replace(picture, panels=panels)


def _has_glyph(symbol: str) -> bool:
    return ord(symbol) in _glyphs()


@functools.cache
def _glyphs() -> frozenset[int]:
    return frozenset(get_font(findfont(_FONT)).get_charmap())


def _draw(picture: Picture) -> Figure:
    widest = [min(max(map(_width, set(panel.labels))), _MAX_LABEL) for panel in picture.panels]
    is_turned = [not picture.is_pooled and width > CELL for width in widest]
    room = max(widest) if picture.is_pooled or any(is_turned) else LINE
    page = lay_out(picture, label_room=room + GAP)
    figure = Figure(figsize=(page.width, page.height), dpi=_DPI)
    figure.text(
        *_fractions(page, left=EDGE, top=EDGE),
        "\n".join(page.title),
        va="top",
        weight="bold",
        parse_math=False,
    )
    for panel, box, turns in zip(picture.panels, page.panels, is_turned, strict=True):
        axes = _place(figure, page, box)
        if picture.is_pooled:
            _draw_pooled(axes, panel, box, picture)
        else:
            _draw_word(axes, panel, box, picture, rotation=90 if turns else 0)
            axes.tick_params(which="both", labelleft=box.left == page.panels[0].left)
    _draw_scale(_place(figure, page, page.bar), picture.limit, page.bar)
    return figure


def _place(figure: Figure, page: Page, box: Box) -> Axes:
    left, bottom = _fractions(page, left=box.left, top=box.top + box.height)
    return figure.add_axes((left, bottom, box.width / page.width, box.height / page.height))


def _fractions(page: Page, *, left: float, top: float) -> tuple[float, float]:
    """A point as matplotlib wants it: shares of the page, from its left and lower edges."""
    return left / page.width, 1 - top / page.height


def _draw_word(axes: Axes, panel: Panel, box: Box, picture: Picture, *, rotation: int) -> None:
    """Letters from left to right, units from top to bottom."""
    _draw_cells(axes, panel.states.T, picture.limit, box)
    _name(axes.xaxis, panel.labels, room=box.width, rotation=rotation)
    _number(axes.yaxis, picture, room=box.height, size=LINE)
    axes.set_title(_shortened(panel.title, box.width), loc="left", pad=4, parse_math=False)
    for place in _borders(picture):
        axes.axhline(place, color="black", linewidth=1)


def _draw_pooled(axes: Axes, panel: Panel, box: Box, picture: Picture) -> None:
    """Units from left to right, words from top to bottom."""
    _draw_cells(axes, panel.states, picture.limit, box)
    _number(axes.xaxis, picture, room=box.width, size=_width(f" {picture.units} "))
    _name(axes.yaxis, panel.labels, room=box.height)
    for place in _borders(picture):
        axes.axvline(place, color="black", linewidth=1)


def _draw_cells(axes: Axes, states: NDArray[np.float32], limit: float, box: Box) -> None:
    rows, columns = states.shape
    is_visible = min(box.height / rows, box.width / columns) * _DPI >= 1
    axes.imshow(
        np.clip(states, -limit, limit),
        cmap=_COLORS,
        norm=Normalize(-limit, limit),
        aspect="auto",
        interpolation="none" if is_visible else "antialiased",  # the mean of what shares a pixel
        interpolation_stage="data",
    )


def _borders(picture: Picture) -> list[float]:
    """Where one direction's units end and the next one's begin."""
    return [picture.units * count - 0.5 for count in range(1, len(picture.directions))]


def _number(axis: Axis, picture: Picture, *, room: float, size: float) -> None:
    """The units' numbers in each direction, and the directions' names."""
    starts = range(0, picture.hidden, picture.units)
    step = tick_step(count=picture.hidden, room=room, size=size)
    numbers = [*range(0, picture.units, step)]
    if len(starts) > 1 and (picture.units - numbers[-1]) * room < size * picture.hidden:
        numbers = numbers[:-1] or [0]  # or it would touch the next direction's 0
    axis.set_ticks(
        [start + number for start in starts for number in numbers], [*map(str, numbers)] * len(starts)
    )
    axis.remove_overlapping_locs = False
    axis.set_ticks(
        [start + (picture.units - 1) / 2 for start in starts],
        labels=[name or "unit" for name in picture.directions],
        minor=True,
    )
    is_beside = axis is axis.axes.yaxis
    away = _width(str(numbers[-1])) * 72 + 10 if is_beside else 18
    axis.set_tick_params(which="minor", length=0, pad=away, labelrotation=90 if is_beside else 0)
    for label in axis.get_ticklabels(minor=True):
        label.set_verticalalignment("center" if is_beside else "top")


def _name(axis: Axis, labels: list[str], *, room: float, rotation: int = 0) -> None:
    """The names of letters or words, as many as have room."""
    places = range(0, len(labels), tick_step(count=len(labels), room=room, size=LINE))
    names = [_shortened(labels[place], _MAX_LABEL) for place in places]
    axis.set_ticks(places, labels=names, parse_math=False)
    axis.set_tick_params(labelrotation=rotation)


def _draw_scale(axes: Axes, limit: float, box: Box) -> None:
    count = 5 if box.height > 8 * LINE else 3
    ticks = np.linspace(-limit, limit, count)
    axes.figure.colorbar(ScalarMappable(Normalize(-limit, limit), _COLORS), cax=axes)
    axes.yaxis.set_ticks(ticks, labels=[f"{tick:.3g}" for tick in ticks])


def _shortened(text: str, room: float) -> str:
    """`text`, cut where it would be wider than `room` inches."""
    if _width(text) <= room:
        return text
    fitting = bisect_right(range(len(text)), room, key=lambda count: _width(text[:count] + "…"))
    return text[: max(fitting - 1, 0)] + "…"


def _width(text: str) -> float:
    """The inches that a line of text takes."""
    width, _, _ = text_to_path.get_text_width_height_descent(text, _FONT, ismath=False)
    return width / 72
