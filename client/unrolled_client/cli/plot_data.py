"""What there is to draw, whoever draws it: panels of states with a name for every row, and one scale."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from unrolled_client import Result
from unrolled_client.cli.options import NetworkFlags
from unrolled_client.cli.printable import escape_unless, printable
from unrolled_client.cli.symbols import symbols

_SHOWN_TEXT = 40
SPACE = "␣"
"""What labels show for a space."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A word's states; or all words', where each has one vector.

    Attributes:
        title: The word, or what was asked for.
        labels: The name of each row: the word's symbols, or the words.
        states: float32 (labels, hidden).
    """

    title: str
    labels: list[str]
    states: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """Panels that share their units and their scale.

    Attributes:
        title: The network, by the names of its options.
        panels: One a word; a single one where each word has one vector.
        label_name: What the panels' rows stand for, in the singular.
        limit: The largest absolute state; colours run from -limit to limit.
        directions: Each direction's name; they share `hidden` equally. One without a name if there is one.
        is_pooled: Whether the one panel has a row a word.
    """

    title: str
    panels: list[Panel]
    label_name: str
    limit: float
    directions: tuple[str, ...]
    is_pooled: bool

    @property
    def hidden(self) -> int:
        """The values at each position, of all directions together."""
        return int(self.panels[0].states.shape[-1])

    @property
    def units(self) -> int:
        """The units of one direction."""
        return self.hidden // len(self.directions)

    @property
    def row_count(self) -> int:
        """The labelled rows of all panels."""
        return sum(len(panel.labels) for panel in self.panels)


def make_picture(words: list[str], result: Result, network: NetworkFlags) -> Picture:
    """The states of a call as panels."""
    finite = result.outputs[np.isfinite(result.outputs)]
    part = "letter" if network.vectors is None else "word"
    return Picture(
        title=describe(network),
        panels=list(_panels(words, result, network)),
        label_name="word" if network.is_pooled else part,
        limit=float(np.abs(finite).max(initial=0)) or 1.0,
        directions=("forward", "backward") if network.bidirectional else ("",),
        is_pooled=network.is_pooled,
    )


def spell_out(picture: Picture, is_shown: Callable[[str], bool]) -> Picture:
    r"""Returns the same picture with escapes such as \u2603 for symbols that are not shown."""
    spelled = partial(escape_unless, is_shown)
    return replace(
        picture,
        title=spelled(picture.title),
        panels=[
            replace(panel, title=spelled(panel.title), labels=[spelled(label) for label in panel.labels])
            for panel in picture.panels
        ],
    )


def _panels(words: list[str], result: Result, network: NetworkFlags) -> Iterator[Panel]:
    if network.is_pooled:
        labels = [printable(word) for word in words]
        yield Panel(title=f"{network.output} of each word", labels=labels, states=result.outputs)
        return
    for word, length, states in zip(words, result.lengths, result.outputs, strict=True):
        labels = [printable(symbol).replace(" ", SPACE) for symbol in symbols(word, network)]
        yield Panel(title=printable(word), labels=labels, states=states[:length])


def describe(network: NetworkFlags) -> str:
    """The network by its options' names: cell, size, seed, and what is not as it is by default.

    >>> describe(NetworkFlags(hidden_size=8, cell="lstm", num_layers=2, bidirectional=True))
    'lstm, hidden_size 8, seed 0, num_layers 2, bidirectional'
    """
    named = {"hidden_size": network.hidden_size, "seed": network.seed}
    rest = {name: value for name, value in network.changed().items() if name not in {*named, "cell"}}
    return ", ".join([network.cell, *(_told(name, value) for name, value in (named | rest).items())])


def _told(name: str, value: object) -> str:
    if isinstance(value, bool):
        return name if value else f"no {name}"
    text = printable(str(value))
    return f"{name} {text if len(text) <= _SHOWN_TEXT else text[:_SHOWN_TEXT] + '…'}"


def tick_step(*, count: int, room: float, size: float) -> int:
    """The step between labels of `size` each, so that `count` labels' places fit them in `room`.

    >>> [tick_step(count=count, room=40, size=4) for count in (10, 20, 25, 256)]
    [1, 2, 5, 50]
    """
    step, factors = 1, (2, 5, 10)
    while step * room < size * count:
        decade = 10 ** (len(str(step)) - 1)
        step = next(factor * decade for factor in factors if factor * decade > step)
    return step
