"""The content of a drawing, in a terminal or a file: panels of states with labels and one scale."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from unrolled_client._display.printable import escape_unless, printable
from unrolled_client.network import DEFAULT_NETWORK, Network

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


def make_picture(
    outputs: NDArray[np.float32],
    *,
    words: Sequence[str],
    lengths: NDArray[np.int64],
    network: Network,
    title: str,
) -> Picture:
    """Returns the picture of the outputs of words."""
    if network.is_pooled:
        labels = [printable(word) for word in words]
        panels = [Panel(title=f"{network.output} of each word", labels=labels, states=outputs)]
    else:
        panels = [
            Panel(
                title=printable(word),
                labels=[printable(symbol).replace(" ", SPACE) for symbol in network.symbols(word)],
                states=states[:length],
            )
            for word, length, states in zip(words, lengths, outputs, strict=True)
        ]
    return Picture(
        title=title,
        panels=panels,
        row_name="word" if network.reads_sentences or network.is_pooled else "letter",
        limit=max(map(_largest, outputs)) or 1.0,  # by word: a copy of all states may be large
        directions=("forward", "backward") if network.bidirectional else ("",),
    )


def _largest(states: NDArray[np.float32]) -> float:
    """Returns the largest absolute finite state."""
    return float(np.abs(states[np.isfinite(states)]).max(initial=0))


def describe(network: Network, **shown: object) -> str:
    """Returns the cell, what else is to be shown, and every option that is not at its default.

    >>> describe(Network(cell="lstm", num_layers=2, bidirectional=True), hidden_size=8, seed=0)
    'lstm, hidden_size 8, seed 0, num_layers 2, bidirectional'
    """
    names = set(Network._fields) - {"cell", "return_final_state"}
    options = {name: value for name, value in network._asdict().items() if name in names}
    changed = {name: value for name, value in options.items() if value != getattr(DEFAULT_NETWORK, name)}
    return ", ".join([network.cell, *(_describe(name, value) for name, value in (shown | changed).items())])


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
