"""A network that runs in one direction: one tree of prefixes, and the states of all layers at its rows."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float32, Int32

from unrolled_server.engine.job import InitialStates, Output, State
from unrolled_server.engine.layers import Layers
from unrolled_server.engine.pooling import last_rows, pooled
from unrolled_server.engine.prefix_tree import PrefixTree
from unrolled_server.engine.spec import NetworkSpec
from unrolled_server.engine.states import ReplyScratch, TableGroup
from unrolled_server.engine.words import EncodedWords

Rows = Int32[np.ndarray, "batch seq"]
Lengths = Int32[np.ndarray, " batch"]


class OneWay:
    """See `Recurrence`. Tree and tables change together: a row that the tree hands out is computed at once.

    The layers' tables are empty; the ``starts``, if any, become rows 1 and up.
    """

    def __init__(self, spec: NetworkSpec, layers: Layers, starts: InitialStates | None) -> None:
        self._layers = layers
        self._first_root = 1 if starts else 0
        self._tree = PrefixTree(spec.symbol_count, root_count=1 + starts.count if starts else 1)
        self._tables = TableGroup([*layers.states, *layers.cells], roots=_roots(starts))
        self._outputs = layers.states[-1]
        self.row_nbytes = (
            self._tree.row_nbytes
            + self._tables.row_nbytes
            + sum(inputs.row_nbytes for inputs in layers.inputs)
        )

    @property
    def nbytes(self) -> int:
        nbytes = self._tree.nbytes + self._tables.nbytes
        for inputs in self._layers.inputs:
            nbytes += inputs.nbytes
        return nbytes

    @property
    def row_count(self) -> int:
        return self._tree.known_count

    def clear(self) -> None:
        self._tree.clear()
        self._tables.clear()
        for inputs in self._layers.inputs:
            inputs.clear()

    def compute_rows(
        self, words: EncodedWords, *, max_rows: int | None, make_room: Callable[[int], None]
    ) -> Rows:
        resolution = self._tree.resolve(words, max_rows=max_rows, first_root=self._first_root)
        self._tables.reserve(self._tree.row_count, max_rows=max_rows, make_room=make_room)
        if resolution.steps:
            self._layers.run(resolution.steps)
        return resolution.index

    def gather(
        self, index: Int32[np.ndarray, "*places"], scratch: ReplyScratch
    ) -> Float32[np.ndarray, "*places output"]:
        return self._outputs.gather(index, scratch)

    def numbers(self, index: Rows) -> Rows:
        return index

    def pooled(self, index: Rows, lengths: Lengths, *, output: Output) -> Float32[np.ndarray, "batch output"]:
        return pooled(self._outputs, index, lengths, output=output)

    def final_state(self, index: Rows, lengths: Lengths) -> State:
        rows = last_rows(index, lengths)
        h = np.stack([table.take(rows) for table in self._layers.states])
        cells = [table.take(rows) for table in self._layers.cells]
        return State(h, np.stack(cells) if cells else None)


def _roots(starts: InitialStates | None) -> list[Float32[np.ndarray, "roots _"]]:
    """Returns the first rows of each table: zeros, then the given states."""
    if starts is None:
        return []
    given = [*starts.h(slice(None)), *starts.c(slice(None))]
    return [np.concatenate([np.zeros_like(rows[:1]), rows]) for rows in given]
