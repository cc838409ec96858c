"""Drawings of matplotlib's as parts of a page: SVG in the page's own colours and letters.

Each is drawn twice, for a wide page and for a telephone, because the letters of an SVG shrink with it. The
only place of the load tester that imports matplotlib.
"""

import io
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from xml.etree import ElementTree as ET

import matplotlib as mpl
import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from unrolled_loadtest.report.markup import element

_WIDTHS = {"for-wide": 880, "for-narrow": 380}
_WITH_ZONES = "for-wide"
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 20, 10, 44
_DPI = 72  # so that a point is a pixel

# Matplotlib wants colours; each of these becomes the page's colour of that name, in light and in dark.
_NAMES = ("ink", "soft", "grid", "shade", "blue", "orange", "violet", "green", "red")
_STAND_INS = {name: f"#0000{number + 1:02x}" for number, name in enumerate(_NAMES)}
_COLORS = {color: f"var(--{name})" for name, color in _STAND_INS.items()}
_LOOK = {
    "axes.axisbelow": True,
    "axes.edgecolor": _STAND_INS["soft"],
    "axes.labelcolor": _STAND_INS["ink"],
    "axes.labelsize": 12,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 12,
    "grid.color": _STAND_INS["grid"],
    "lines.linewidth": 1.6,
    "lines.markersize": 4,
    "svg.fonttype": "none",
    "xtick.major.pad": 7,
    "xtick.major.size": 0,
    "ytick.major.pad": 6,
    "ytick.major.size": 0,
}
_NAMELESS = {"Creator": None, "Date": None, "Format": None, "Type": None}
_LONG_NUMBER = re.compile(r"-?\d+\.\d{2,}")
_COLOR = re.compile(r"#[0-9a-f]{6}")
_FONT = re.compile(r"font-family: [^;]*;? ?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """What is told of a part of the x axis to whoever points at it."""

    start: float
    end: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """Where a chart is drawn.

    Attributes:
        figure: Matplotlib's.
        axes: Likewise; the only ones.
        width: Of the axes, in pixels.
        height: Likewise.
    """

    figure: Figure
    axes: Axes
    width: float
    height: float


def ink(name: str) -> str:
    """The colour that stands for the page's colour of a name."""
    return _STAND_INS[name]


def draw(
    paint: Callable[[Canvas], None], *, name: str, says: str, height: int = 260, zones: Iterable[Zone] = ()
) -> list[ET.Element]:
    """The same chart for wide and for narrow pages.

    Args:
        paint: Draws it.
        name: Of the chart, unique on the page.
        says: What it shows, for those who do not see it.
        height: In pixels.
        zones: What pointing at it tells; on wide pages only, since fingers do not point.
    """
    drawings = []
    for kind, width in _WIDTHS.items():
        with mpl.style.context(["default", _LOOK, {"svg.hashsalt": f"{name} {kind}"}]):
            canvas = _canvas(width, height)
            paint(canvas)
            drawing = _saved(canvas)
        if kind == _WITH_ZONES:
            drawing.extend(_zone(zone, canvas) for zone in zones)
        box = f"0 0 {width} {height}"
        drawings.append(
            element("svg", *drawing, viewBox=box, role="img", aria_label=says, class_=f"drawing {kind}")
        )
    return drawings


def _canvas(width: int, height: int) -> Canvas:
    room, rise = width - _LEFT - _RIGHT, height - _TOP - _BOTTOM
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI)
    axes = figure.add_axes((_LEFT / width, _BOTTOM / height, room / width, rise / height))
    return Canvas(figure=figure, axes=axes, width=room, height=rise)


def _saved(canvas: Canvas) -> ET.Element:
    content = io.BytesIO()
    canvas.figure.savefig(content, format="svg", transparent=True, metadata=_NAMELESS)
    return _cleaned(ET.fromstring(content.getvalue()))  # noqa: S314 - our own


def _zone(zone: Zone, canvas: Canvas) -> ET.Element:
    start, end = (canvas.axes.transData.transform((x, 0))[0] for x in (zone.start, zone.end))
    place = {
        "x": f"{start:.1f}",
        "width": f"{end - start:.1f}",
        "y": f"{_TOP}",
        "height": f"{canvas.height:g}",
    }
    return element("rect", element("title", zone.text), class_="zone", **place)


def _cleaned(drawn: ET.Element) -> ET.Element:
    """An element without namespaces, or what a page says better: fonts, colours, names, digits."""
    tag = _local(drawn.tag)
    made = ET.Element(tag, dict(_attributes(tag, drawn)))
    made.text = drawn.text if tag == "text" else None
    for child in drawn:
        if _local(child.tag) in ("style", "metadata"):  # a style would hold for the whole page
            continue
        part = _cleaned(child)
        if len(part) or part.attrib or part.text:
            made.append(part)
    return made


def _attributes(tag: str, drawn: ET.Element) -> Iterable[tuple[str, str]]:
    for name, value in drawn.attrib.items():
        if (tag == "g" and name == "id") or value.startswith("rotate(-0 "):
            continue
        if name == "style":
            yield "style", _COLOR.sub(lambda found: _COLORS.get(found[0], "var(--ink)"), _FONT.sub("", value))
        elif name == "id" or "#" in value:
            yield _local(name), value
        else:
            yield (
                _local(name),
                " ".join(_LONG_NUMBER.sub(lambda found: f"{float(found[0]):.1f}", value).split()),
            )


def _local(name: str) -> str:
    return name.rpartition("}")[2]
