"""The content of a drawing, in a terminal or a file: panels of states with labels and one scale."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from unrolled_client import Result
from unrolled_client.cli.options import NetworkFlags
from unrolled_client.cli.printable import escape_unless, printable

SPACE = "␣"
"""The label of a space."""

_MAX_VALUE_LENGTH = 40  # of an option in the title


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A word, its symbols and their states, (labels, hidden); or all words, if each has one vector."""

    title: str
    labels: list[str]
    states: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """Panels that share their units and their scale."""

    title: str
    panels: list[Panel]  # one per word; a single one if each word has one vector
    row_name: str  # what a label stands for: "letter" or "word"
    limit: float  # the largest absolute finite state; the scale runs from -limit to limit
    directions: tuple[str, ...]  # share the hidden values equally; ("",) for one direction

    @property
    def unit_count(self) -> int:
        """The number of units in each direction."""
        return int(self.panels[0].states.shape[-1]) // len(self.directions)

    @property
    def row_count(self) -> int:
        return sum(len(panel.labels) for panel in self.panels)


def make_picture(words: list[str], result: Result, network: NetworkFlags) -> Picture:
    """Returns the picture of a call's result."""
    finite = result.outputs[np.isfinite(result.outputs)]
    return Picture(
        title=describe(network),
        panels=_panels(words, result, network),
        row_name="letter" if network.vectors is None and not network.is_pooled else "word",
        limit=float(np.abs(finite).max(initial=0)) or 1.0,
        directions=("forward", "backward") if network.bidirectional else ("",),
    )


def _panels(words: list[str], result: Result, network: NetworkFlags) -> list[Panel]:
    if network.is_pooled:
        labels = [printable(word) for word in words]
        return [Panel(title=f"{network.output} of each word", labels=labels, states=result.outputs)]
    return [
        Panel(
            title=printable(word),
            labels=[printable(symbol).replace(" ", SPACE) for symbol in symbols(word, network)],
            states=states[:length],
        )
        for word, length, states in zip(words, result.lengths, result.outputs, strict=True)
    ]


def symbols(word: str, network: NetworkFlags) -> list[str]:
    """Returns the steps of the network: a word's letters or, with word vectors, a sentence's words."""
    return list(word) if network.vectors is None else word.split()


def describe(network: NetworkFlags) -> str:
    """Returns the network's cell, hidden size, seed and every other option that is not at its default.

    >>> describe(NetworkFlags(hidden_size=8, cell="lstm", num_layers=2, bidirectional=True))
    'lstm, hidden_size 8, seed 0, num_layers 2, bidirectional'
    """
    shown = {"hidden_size": network.hidden_size, "seed": network.seed} | network.changed()
    shown.pop("cell", None)
    return ", ".join([network.cell, *(_describe(name, value) for name, value in shown.items())])


def _describe(name: str, value: object) -> str:
    if isinstance(value, bool):
        return name if value else f"no {name}"
    text = printable(str(value))
    return f"{name} {text if len(text) <= _MAX_VALUE_LENGTH else text[:_MAX_VALUE_LENGTH] + '…'}"


def escape_labels(picture: Picture, is_shown: Callable[[str], bool]) -> Picture:
    r"""Returns the same picture with escapes such as \u2603 for symbols for which `is_shown` is false."""
    escape = partial(escape_unless, is_shown)
    panels = [
        replace(panel, title=escape(panel.title), labels=[escape(label) for label in panel.labels])
        for panel in picture.panels
    ]
    return replace(picture, title=escape(picture.title), panels=panels)
