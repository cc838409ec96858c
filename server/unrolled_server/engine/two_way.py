"""A bidirectional network: words and reversed words on one tree, and above the first layer whole words."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from jaxtyping import Float32, Int32

from unrolled_server.engine.gated import Layer
from unrolled_server.engine.inputs import PairsBelow
from unrolled_server.engine.job import InitialStates, Output, State
from unrolled_server.engine.pooling import last_rows, pooled
from unrolled_server.engine.prefix_tree import PrefixTree
from unrolled_server.engine.spec import NetworkSpec
from unrolled_server.engine.states import ReplyScratch, StateTable, TableGroup
from unrolled_server.engine.whole_words import NewWords, WholeWords
from unrolled_server.engine.words import EncodedWords

Rows = Int32[np.ndarray, "batch seq columns"]
Lengths = Int32[np.ndarray, " batch"]
_DIRECTIONS = 2
# Rows where words start: zeros for the forward direction, which is the padding too, and for the backward one.
_ZERO_ROOTS = (0, 1)


class TwoWay:
    """See `Recurrence`. An index has a column for each direction of the first layer, and two for all above.

    The first layer's backward direction is the forward direction of the reversed words. So both live on one
    tree, from different roots, and in one table: a letter's two rows lie side by side in an index, and one
    gather makes (batch, seq, 2 * hidden) of them. Layers above read both directions, and so depend on the
    whole word (`WholeWords`).
    """

    def __init__(
        self, spec: NetworkSpec, layers: Sequence[Sequence[Layer]], starts: InitialStates | None
    ) -> None:
        self._layers = layers
        first_roots, root_count = _ZERO_ROOTS, len(_ZERO_ROOTS)
        if starts:
            first_roots = (root_count, root_count + starts.count)
            root_count += _DIRECTIONS * starts.count
        self._first_roots = first_roots
        self._tree = PrefixTree(spec.symbol_count, root_count=root_count)
        self._words = WholeWords(first_roots=first_roots, root_count=root_count)
        self._first = _table_group(layers[:1], starts, first_layer=0)
        self._above = _table_group(layers[1:], starts, first_layer=1) if len(layers) > 1 else None
        self._outputs = layers[-1][0].states
        self._inputs = [direction.inputs for layer in layers for direction in layer]
        self.row_nbytes = (
            self._tree.row_nbytes
            + self._first.row_nbytes
            + sum(inputs.row_nbytes for inputs in self._inputs)
            + (self._above.row_nbytes + self._words.row_nbytes if self._above else 0)
        )

    @property
    def nbytes(self) -> int:
        kept = sum(inputs.nbytes for inputs in self._inputs)
        above = self._above.nbytes + self._words.nbytes if self._above else 0
        return self._tree.nbytes + self._first.nbytes + kept + above

    @property
    def row_count(self) -> int:
        return self._tree.known_count + self._words.known_count

    def clear(self) -> None:
        self._tree.clear()
        self._words.clear()
        self._first.clear()
        if self._above:
            self._above.clear()
        for inputs in self._inputs:
            inputs.clear()

    def compute_rows(
        self, words: EncodedWords, *, max_rows: int | None, make_room: Callable[[int], None]
    ) -> Rows:
        forward, backward = (
            self._tree.resolve(of_direction, max_rows=max_rows, first_root=root)
            for of_direction, root in zip((words, words.reversed()), self._first_roots, strict=True)
        )
        self._first.reserve(self._tree.row_count, max_rows=max_rows, make_room=make_room)
        for layer, resolution in zip(self._layers[0], (forward, backward), strict=True):
            if resolution.steps:
                layer.stepper.run(resolution.steps, layer)
        index = np.stack([forward.index, _mirrored(backward.index, words.lengths)], axis=2)
        if self._above is None:
            return index
        above, new = self._words.resolve(words, index, max_rows=max_rows)
        self._above.reserve(self._words.row_count, max_rows=max_rows, make_room=make_room)
        if new:
            self._run_above(new)
        return np.concatenate([index, above], axis=2)

    def _run_above(self, new: NewWords) -> None:
        """Computes all layers but the first, one after the other, as each reads both directions below."""
        pairs = new.below
        for layer in self._layers[1:]:
            for direction, steps in zip(layer, (new.forward, new.backward), strict=True):
                assert isinstance(direction.inputs, PairsBelow)  # noqa: S101 - as they were made
                direction.inputs.pairs = pairs
                direction.stepper.run(steps, direction)
            pairs = new.pairs

    def gather(
        self, index: Int32[np.ndarray, "*places columns"], scratch: ReplyScratch
    ) -> Float32[np.ndarray, "*places output"]:
        states = self._outputs.gather(np.ascontiguousarray(index[..., -_DIRECTIONS:]), scratch)
        return states.reshape(*index.shape[:-1], -1)  # (..., 2, hidden) -> (..., 2 * hidden)

    def numbers(self, index: Rows) -> Int32[np.ndarray, "batch seq"]:
        forward, backward = (index[..., column].astype(np.int64) for column in (-2, -1))
        pairs = forward * (int(backward.max()) + 1) + backward
        _, numbers = np.unique(pairs, return_inverse=True)
        return np.where(pairs == 0, 0, numbers.reshape(pairs.shape) + 1).astype(np.int32)

    def pooled(self, index: Rows, lengths: Lengths, *, output: Output) -> Float32[np.ndarray, "batch output"]:
        halves = [pooled(self._outputs, index[..., column], lengths, output=output) for column in (-2, -1)]
        return np.concatenate(halves, axis=1)

    def final_state(self, index: Rows, lengths: Lengths) -> State:
        h, c = (
            [_final(table, index, lengths, is_first=table is tables[0]) for table in tables]
            for tables in (_states(self._layers), _cells(self._layers))
        )
        return State(np.concatenate(h), np.concatenate(c) if c else None)


def _final(
    table: StateTable, index: Rows, lengths: Lengths, *, is_first: bool
) -> Float32[np.ndarray, "2 batch _"]:
    """Returns a layer's last states: forward those at a word's end, backward those at its start."""
    forward, backward = (0, 1) if is_first else (2, 3)
    rows = np.stack([last_rows(index[..., forward], lengths), index[:, 0, backward]])
    return table.take(rows)


def _mirrored(index: Int32[np.ndarray, "batch seq"], lengths: Lengths) -> Int32[np.ndarray, "batch seq"]:
    """Returns the rows of reversed words at the places of the words' own letters."""
    # Past a word's end the place is negative and counts from the right, where there is padding.
    places = lengths[:, np.newaxis] - 1 - np.arange(index.shape[1])
    return np.take_along_axis(index, places, axis=1)


def _states(layers: Iterable[Sequence[Layer]]) -> list[StateTable]:
    return [forward.states for forward, _ in layers]


def _cells(layers: Iterable[Sequence[Layer]]) -> list[StateTable]:
    return [forward.cells for forward, _ in layers if forward.cells]


def _table_group(
    layers: Sequence[Sequence[Layer]], starts: InitialStates | None, *, first_layer: int
) -> TableGroup:
    """Returns the tables of some layers, with the given states in their first rows."""
    tables = [*_states(layers), *_cells(layers)]
    if starts is None:
        return TableGroup(tables)
    taken = slice(_DIRECTIONS * first_layer, _DIRECTIONS * (first_layer + len(layers)))
    roots = [
        np.concatenate([np.zeros((len(_ZERO_ROOTS), forward.shape[1]), np.float32), forward, backward])
        for given in (starts.h(taken), starts.c(taken))
        for forward, backward in zip(given[::2], given[1::2], strict=True)
    ]
    return TableGroup(tables, roots=roots)
