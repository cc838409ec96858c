"""Drawings in files: the colours of known cells, texts that do not overlap, equal bytes for equal states."""

import base64
import io
import itertools
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from matplotlib import colormaps, rcParams, style
from matplotlib._pylab_helpers import Gcf
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imread
from unrolled_client._display import drawing
from unrolled_client._display.picture import escape_labels

SVG = "{http://www.w3.org/2000/svg}"
BOTH = ("forward", "backward")
SENTENCE = " ".join(f"{'untrained' * (n % 3)}word{n}" for n in range(45))


def save(picture, path):
    content, note = drawing.render(picture, kind=path.suffix[1:].lower())
    path.write_bytes(content)
    return note


def colors_of(states, limit):
    """The red, green and blue that each state should have, 0 to 255."""
    return colormaps["RdBu_r"]((states / limit + 1) / 2, bytes=True)[..., :3].astype(int)


def images_in(path):
    """The arrays of an SVG's images, in their order: one for each panel, then the scale."""
    links = [image.get("{http://www.w3.org/1999/xlink}href") for image in ET.parse(path).iter(f"{SVG}image")]
    return [imread(io.BytesIO(base64.b64decode(link.partition(",")[2]))) for link in links]


def texts_in(path):
    return [element.text for element in ET.parse(path).iter(f"{SVG}text")]


def figure_of(picture):
    """The drawing, measured as it is in a file."""
    with style.context(["default", drawing._STYLE]):
        figure = drawing._draw(picture, Figure())
        FigureCanvasAgg(figure).draw()
    return figure


@pytest.mark.parametrize("directions", [("",), BOTH])
def test_an_svg_has_a_cell_for_each_state(picture_of, tmp_path, directions):
    """A panel per word and direction, a column per letter, a row per unit, in the scale's colours."""
    picture = picture_of(["hello", "ab"], units=6, directions=directions)
    assert save(picture, tmp_path / "states.svg") == ""
    *images, _scale = images_in(tmp_path / "states.svg")
    parts = [np.split(panel.states.T, len(directions)) for panel in picture.panels]
    by_row = [part for row in zip(*parts, strict=True) for part in row]
    for image, states in zip(images, by_row, strict=True):
        expected = colors_of(states, picture.limit)
        assert np.abs(np.rint(image[..., :3] * 255) - expected).max() <= 1


def test_an_svg_names_what_is_drawn(picture_of, tmp_path):
    """Title, words, letters, units, directions and the ends of the scale are text."""
    picture = picture_of(["he$l$o", "a_b"], units=3, directions=BOTH)
    save(picture, tmp_path / "states.svg")
    texts = texts_in(tmp_path / "states.svg")
    assert {picture.title, "he$l$o", "a_b", *"he$lo", *"a_b", *"012", *BOTH} <= set(texts)
    assert {f"{picture.limit:.3g}", "0", f"{-picture.limit:.3g}"} <= set(texts)
    assert [text for text in texts if text in set("he$l$oa_b")] == list("he$l$oa_b")


def test_a_png_has_the_colors_at_the_cells(picture_of, tmp_path):
    """The pixel in the middle of each cell has its state's colour."""
    picture = picture_of(["strawberry", "ab"], units=6)
    save(picture, tmp_path / "states.PNG")
    pixels = np.rint(imread(tmp_path / "states.PNG", format="png")[..., :3] * 255).astype(int)
    for axes, panel in zip(figure_of(picture).axes, picture.panels, strict=False):
        letters, units = map(np.arange, panel.states.shape)
        x = axes.transData.transform(np.column_stack([letters, 0 * letters]))[:, 0]
        y = pixels.shape[0] - axes.transData.transform(np.column_stack([0 * units, units]))[:, 1]
        seen = pixels[np.ix_(y.astype(int), x.astype(int))]
        assert np.abs(seen - colors_of(panel.states.T, picture.limit)).max() <= 1


@pytest.mark.parametrize("words", [["", "hello"], [""]])
def test_a_word_without_letters_is_an_empty_panel(picture_of, tmp_path, words):
    """The others stay where they are, and matplotlib warns of nothing."""
    save(picture_of(words), tmp_path / "states.svg")
    assert figure_of(picture_of(words)).axes[0].get_title(loc="left") == ""
    assert ("hello" in texts_in(tmp_path / "states.svg")) == ("hello" in words)


def test_pooled_words_are_columns(picture_of, tmp_path):
    """If each word has one vector there is one panel, with a column per word."""
    picture = picture_of(["hello", "world", "x"], units=4, is_pooled=True)
    save(picture, tmp_path / "states.svg")
    image, _scale = images_in(tmp_path / "states.svg")
    expected = colors_of(picture.panels[0].states.T, picture.limit)
    assert np.abs(np.rint(image[..., :3] * 255) - expected).max() <= 1
    assert {"hello", "world", "x", "unit"} <= set(texts_in(tmp_path / "states.svg"))


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (["a"], {"units": 1}),
        (["ab"], {"units": 1, "directions": BOTH}),
        (["hello", "eolll", "lleel"], {}),
        pytest.param(["internationalization"] * 12, {"units": 256}, marks=pytest.mark.long),
        ([f"w{n}" for n in range(12)], {"units": 256, "directions": BOTH}),
        ([SENTENCE], {"units": 256}),
        ([SENTENCE, "a b", "c"], {"units": 5, "directions": BOTH}),
        (["mississippi" * 90], {"units": 7}),
        (["hello", "w" * 90], {"units": 4000, "is_pooled": True, "directions": BOTH}),
        pytest.param(
            [f"word{n}" for n in range(700)], {"units": 40, "is_pooled": True}, marks=pytest.mark.long
        ),
        (["hello"], {"is_pooled": True, "scale": 123_456}),
        (["hello"], {"scale": 0.000_012_3}),
        (["ab"], {"title": "a_name 1, " * 30}),
    ],
)
@pytest.mark.long
def test_no_text_meets_another_or_leaves_the_page(picture_of, words, options):
    """Every text can be read, from one word with one unit to a dozen words with 256."""
    figure = figure_of(picture_of(words, **options))
    texts = [
        *figure.texts,
        *(axes.get_title(loc="left") and axes._left_title for axes in figure.axes),
        *(
            label
            for axes in figure.axes
            for axis in (axes.xaxis, axes.yaxis)
            for tick in axis.get_major_ticks()
            if axis.get_view_interval()[0] <= tick.get_loc() <= axis.get_view_interval()[1]
            for label in (tick.label1, tick.label2)
        ),
        *(axis.label for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)),
    ]
    boxes = [text.get_window_extent() for text in texts if text and text.get_visible() and text.get_text()]
    assert len(boxes) >= 6
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)
    for box in boxes:
        assert min(box.x0, box.y0) >= 0
        assert (box.x1, box.y1) <= tuple(figure.bbox.size)
    for axes in figure.axes:
        assert not any(box.overlaps(axes.get_window_extent()) for box in boxes)


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_equal_states_make_equal_files(picture_of, tmp_path, ending):
    """A file has no dates and no random names in it."""
    files = [tmp_path / f"{name}.{ending}" for name in ("one", "other")]
    for file in files:
        save(picture_of(["hello"], units=3), file)
    assert files[0].read_bytes() == files[1].read_bytes()
    magic = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}
    assert files[0].read_bytes().startswith(magic[ending])


@pytest.mark.filterwarnings("error")
def test_letters_that_the_font_lacks_are_spelled_out(picture_of, tmp_path):
    """In a PNG they are code points; an SVG leaves them to the fonts of those who look."""
    picture = picture_of(["你好"], units=3)
    save(picture, tmp_path / "states.svg")
    assert {"你", "好", "你好"} <= set(texts_in(tmp_path / "states.svg"))
    save(picture, tmp_path / "states.png")
    [panel] = escape_labels(picture, drawing._has_glyph).panels
    assert panel.labels == ["\\u4f60", "\\u597d"]
    assert all(map(drawing._has_glyph, "naïve привет שלום ␣"))


def test_a_note_counts_what_was_left_out(picture_of, tmp_path):
    """A file has at most 24 words of 1,000 letters, or 1,000 words with one vector each."""
    note = save(picture_of(["ab"] * 30), tmp_path / "words.svg")
    assert note == "drawn: 48 of 60 letters"
    assert len(images_in(tmp_path / "words.svg")) == 24 + 1
    note = save(picture_of(["ab"] * 1200, is_pooled=True), tmp_path / "pooled.svg")
    assert note == "drawn: 1,000 of 1,200 words"


def test_what_is_no_number_is_grey(picture_of, tmp_path):
    """Overflows have the ends' colours, and what is no number none of the scale."""
    picture = picture_of(["abc"], units=1)
    picture.panels[0].states[:] = np.float32([[np.nan], [np.inf], [-np.inf]])
    save(picture, tmp_path / "states.svg")
    image, _scale = images_in(tmp_path / "states.svg")
    assert np.rint(image[0, :, :3] * 255).tolist() == [[153] * 3, [103, 0, 31], [5, 48, 97]]


def test_a_figure_for_a_notebook_is_drawn_as_a_file_is(picture_of, tmp_path):
    """It has the pixels of the PNG, also where the application has styles of its own."""
    picture = picture_of(["hello", "你"], units=3)
    save(picture, tmp_path / "states.png")
    with style.context("dark_background"):
        shown = drawing.draw(picture)._repr_png_()
    assert np.array_equal(imread(io.BytesIO(shown)), imread(tmp_path / "states.png"))


def test_a_figure_for_a_notebook_says_in_its_title_what_was_left_out(picture_of):
    """Where no standard error shows the note."""
    title = drawing.draw(picture_of(["ab"] * 30)).get_suptitle()
    assert " ".join(title.split()) == "rnn, hidden_size 2, seed 0; drawn: 48 of 60 letters"


def test_a_figure_changes_no_state_of_matplotlib(picture_of):
    """Neither its settings nor pyplot's figures, nor its backend."""
    before = dict(rcParams)
    drawing.draw(picture_of(["ab"]))._repr_png_()
    assert dict(rcParams) == before
    assert not Gcf.figs
