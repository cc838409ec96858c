"""The inputs of a layer at each step: a table of symbols, the layer below, or both its directions."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from unrolled_server.engine.gated_scratch import Room
from unrolled_server.engine.gates import LayerWeights
from unrolled_server.engine.prefix_tree import Step, Symbols
from unrolled_server.engine.states import StateTable
from unrolled_server.engine.weights import array_on_cpu


class Inputs(ABC):
    """The source of a layer's inputs, and what it stores of them; most store nothing.

    ``width`` is the number of ``lower``'s columns that `fill` writes; 0 where sums are looked up.
    """

    width: int = 0

    @property
    def nbytes(self) -> int:
        return 0

    @property
    def row_nbytes(self) -> int:
        """The cost of one more row of states here, at most."""
        return 0

    def clear(self) -> None:  # noqa: B027 - most store nothing
        """Gives the memory back."""

    def prepare(self, steps: Sequence[Step]) -> None:  # noqa: B027 - most are ready
        """Prepares for `fill` with each of these steps."""

    @abstractmethod
    def fill(self, room: Room, rows: slice, symbols: Symbols) -> None:
        """Writes a step's inputs to ``room``: finished into ``sums``, or into ``lower`` to be multiplied.

        ``rows`` are the step's rows in the layer's tables, ``symbols`` what each reads.
        """


class SymbolRows(Inputs):
    """One-hot symbols: each adds its row of a table."""

    def __init__(self, table: Float32[Tensor, "symbols gates"]) -> None:
        self._table = table
        self._table_on_cpu = array_on_cpu(table)
        self._is_on_cpu = table.device.type == "cpu"

    def fill(self, room: Room, rows: slice, symbols: Symbols) -> None:  # noqa: ARG002 - Inputs' signature
        if self._is_on_cpu:
            self._table_on_cpu.take(symbols, 0, room.input_rows, "clip")
        else:
            look_up(self._table, symbols, out=room.block.sums[: room.row_count])


class RowsBelow(Inputs):
    """The layer below, which has the same rows."""

    def __init__(self, below: StateTable) -> None:
        self._below = below
        self.width = below.hidden_size

    def fill(self, room: Room, rows: slice, symbols: Symbols) -> None:  # noqa: ARG002 - Inputs' signature
        if self._below.is_on_cpu:
            room.lower_rows[:, : self.width] = self._below.rows_on_cpu[rows]
        else:
            room.block.lower[: room.row_count, : self.width] = self._below.rows[rows]


class PairsBelow(Inputs):
    """Both directions of the layer below, side by side; a symbol is a place in ``pairs``.

    A pair holds the rows of a place's forward and backward state in the table below.
    """

    def __init__(self, below: StateTable) -> None:
        self._below = below
        self.width = 2 * below.hidden_size
        self.pairs: Int64[np.ndarray, "places 2"] = np.zeros((0, 2), np.int64)

    def fill(self, room: Room, rows: slice, symbols: Symbols) -> None:  # noqa: ARG002 - Inputs' signature
        pairs = self.pairs.take(symbols, 0)
        # (rows, 2, hidden) -> (rows, 2 * hidden)
        if self._below.is_on_cpu:
            room.lower_rows[:, : self.width] = self._below.rows_on_cpu.take(pairs, 0).reshape(len(pairs), -1)
        else:
            places = torch.from_numpy(pairs.ravel()).to(self._below.rows.device)
            states = self._below.rows.index_select(0, places).view(len(pairs), -1)
            room.block.lower[: room.row_count, : self.width] = states


def look_up(
    table: Float32[Tensor, "all columns"], rows: Symbols, *, out: Float32[Tensor, "rows columns"]
) -> None:
    """Copies rows of a table on any device."""
    places = torch.as_tensor(rows, dtype=torch.int64, device=table.device)
    torch.index_select(table, 0, places, out=out)


def multiply(
    lower: Float32[Tensor, "rows inputs"], weights: LayerWeights, *, out: Float32[Tensor, "rows gates"]
) -> None:
    """Computes what inputs add to the gates, biases included."""
    torch.addmm(weights.bias, lower, weights.inputs, out=out)
