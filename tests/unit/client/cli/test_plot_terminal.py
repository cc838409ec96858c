"""Drawings in a terminal: which cell has which colour, and that all stands where it should."""

import io
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import colormaps
from rich.cells import cell_len
from rich.console import Console
from rich.style import Style
from rich.text import Text
from unrolled_client.cli.plot_terminal import draw

BOTH = ("forward", "backward")


def drawn(picture, *, width=80, colors=None, **console):
    """The lines that a terminal of `width` columns gets."""
    Style._add.cache_clear()  # rich's cached styles remember the colours of the console that drew them first
    file = io.StringIO()
    terminal = {"force_terminal": colors is not None, "color_system": colors, "legacy_windows": False}
    draw(picture, Console(file=file, width=width, **terminal, **console))
    return [Text.from_ansi(line) for line in file.getvalue().splitlines()]


def backgrounds(line):
    """The background of each column of a line, as (red, green, blue) or None."""
    columns = [None] * cell_len(line.plain)
    for start, end, style in line.spans:
        if style.bgcolor is not None:
            columns[start:end] = [tuple(style.bgcolor.get_truecolor())] * (end - start)
    return columns


def test_each_state_has_its_color_beside_its_letter(picture_of):
    """A row a letter, four columns a unit, in the very colours that a file has."""
    picture = picture_of(["hello", "ab"], units=3)
    lines = drawn(picture, colors="truecolor")
    assert [line.plain.rstrip() for line in lines[:5]] == [picture.title, "", "    0   1   2", "hello", "  h"]
    states = np.concatenate([panel.states for panel in picture.panels])
    rows = [line for line in lines if re.match(r"  \S ", line.plain) and not line.plain[4].isdigit()]
    assert [row.plain[2] for row in rows] == list("helloab")
    seen = np.array([backgrounds(row)[4:] for row in rows]).reshape(7, 3, 4, 3)
    expected = colormaps["RdBu_r"]((states / picture.limit + 1) / 2, bytes=True)[..., :3]
    assert np.abs(seen - expected[:, :, np.newaxis].astype(int)).max() <= 4


def test_256_colors_tell_sign_and_size(picture_of):
    """A terminal with fewer colours gets its own: blue below zero, red above, pale in between."""
    picture = picture_of(["hello"], units=16)
    rows = [backgrounds(line)[4:] for line in drawn(picture, colors="256")[4:9]]
    colors = np.array(rows, int)[:, :: len(rows[0]) // 16]
    states = picture.panels[0].states / picture.limit
    redness = colors[..., 0] - colors[..., 2]
    assert (redness[states > 0.1] > 0).all()
    assert (redness[states < -0.1] < 0).all()
    assert (np.abs(redness[np.abs(states) < 0.1]) <= 40).all()


@pytest.mark.parametrize("console", [{}, {"colors": "standard"}, {"colors": "truecolor", "no_color": True}])
def test_without_colors_states_are_digits(picture_of, console):
    """A pipe, a terminal with 16 colours and NO_COLOR get ninths of the largest state."""
    picture = picture_of(["hello"], units=5)
    lines = [line.plain for line in drawn(picture, **console)]
    rows = [[int(digit) for digit in line[3:].split()] for line in lines[4:9]]
    assert rows == np.rint(9 * picture.panels[0].states / picture.limit).astype(int).tolist()
    assert lines[-1] == f"9 is {picture.limit:.3g}, -9 is {-picture.limit:.3g}"


def test_directions_stand_side_by_side(picture_of):
    """Two directions have their names, their own numbers and a gap between them."""
    picture = picture_of(["hello"], units=2, directions=BOTH)
    lines = drawn(picture, colors="truecolor")
    assert lines[2].plain == "    forward  backward"
    assert lines[3].plain == "    0   1    0   1"
    columns = backgrounds(lines[5])
    assert [at for at, color in enumerate(columns) if color is None] == [0, 1, 2, 3, 12]


@given(
    width=st.integers(24, 200),
    units=st.integers(1, 600),
    directions=st.sampled_from([("",), BOTH]),
    colors=st.sampled_from([None, "256", "truecolor"]),
)
def test_every_width_is_kept_and_numbers_stand_over_their_units(picture_of, width, units, directions, colors):
    """No line is wider than the terminal, and a unit's number stands where its states begin."""
    lines = [
        line.plain
        for line in drawn(
            picture_of(["hello"], units=units, directions=directions), width=width, colors=colors
        )
    ]
    assert all(len(line) <= width for line in lines)
    header, row = lines[lines.index("hello") - 1], lines[lines.index("hello") + 1]
    note = re.search(r"(\d+) +of +\d+ +units", " ".join(lines))
    shown = int(note[1]) if note else units
    each = (len(row) - 3) // len(directions) - 1
    cell_width = each // shown
    for match in re.finditer(r"\d+", header):
        direction, column = divmod(match.start() - 4, each + 1)
        assert direction < len(directions)
        assert column == int(match[0]) * cell_width


def test_a_note_counts_what_does_not_fit(picture_of):
    """Letters beyond 60 and units beyond the width are not drawn; the last line counts."""
    lines = [line.plain for line in drawn(picture_of(["ab" * 8] * 10, units=256), colors="truecolor")]
    assert lines[-1] == "shown: 60 of 160 letters, 76 of 256 units; --save FILE.png draws more"
    assert lines.count("ab" * 8) == 4
    assert sum(bool(re.match(r"  [ab] ", line)) for line in lines) == 60


def test_names_of_any_width_keep_the_columns(picture_of):
    """Wide letters, accents that take no room and long words do not move the states."""
    lines = drawn(picture_of(["x你e\u0301", f"a {'b' * 99} c"]), colors="truecolor")
    colored = [line for line in lines[:-1] if line.spans and any(style.bgcolor for *_, style in line.spans)]
    starts = [min(start for start, _, style in line.spans if style.bgcolor) for line in colored]
    names = [line.plain[:start] for line, start in zip(colored, starts, strict=True)]
    assert [name.strip() for name in names] == ["x", "你", "e", "\u0301", "a", "b" * 19 + "…", "c"]
    assert {cell_len(name) for name in names} == {23}


@pytest.mark.parametrize("words", [["", "ab"], [""]])
def test_a_word_without_letters_has_no_rows(picture_of, words):
    """Not even its name."""
    lines = [line.plain for line in drawn(picture_of(words), colors="truecolor")]
    assert [line.split()[0] for line in lines[3:-2] if line] == (["ab", "a", "b"] if "ab" in words else [])


def test_what_is_no_number_is_drawn_as_such(picture_of):
    """Overflows have the ends' colours, and what is no number has none."""
    picture = picture_of(["abc"], units=1)
    picture.panels[0].states[:] = np.float32([[np.nan], [np.inf], [-np.inf]])
    rows = drawn(picture, colors="truecolor")[4:7]
    assert rows[0].plain.rstrip() == "  a  ?"
    assert [backgrounds(row)[4] for row in rows[1:]] == [(103, 0, 31), (5, 48, 97)]
