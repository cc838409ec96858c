"""What a layer reads at each step, and how it becomes the first summand of the layer's gates.

A file of its own because steps are the same whatever is below: a table of symbols, vectors, one layer or both
directions of one.
"""

from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from unrolled_server.engine.gates import LayerWeights
from unrolled_server.engine.states import StateTable


@runtime_checkable
class Inputs(Protocol):
    """Where a layer's inputs come from.

    Attributes:
        width: Columns of ``lower`` that `fill` writes; 0 where sums are looked up.
    """

    width: int

    def fill(
        self,
        rows: slice,
        symbols: Int64[Tensor, " rows"],
        *,
        lower: Float32[Tensor, "rows inputs"],
        sums: Float32[Tensor, "rows gates"],
    ) -> None:
        """Writes what new rows read: into ``sums``, finished, or into ``lower``, to be multiplied.

        Args:
            rows: Where the rows stand in the layer's tables.
            symbols: What each reads, as its step says.
            lower: Scratch for rows of the layer below.
            sums: Scratch for gates.
        """


class SymbolRows:
    """One-hot symbols: each adds its row of a table."""

    width = 0

    def __init__(self, table: Float32[Tensor, "symbols gates"]) -> None:
        self._table = table

    def fill(self, rows: slice, symbols: Tensor, *, lower: Tensor, sums: Tensor) -> None:  # noqa: ARG002 - Inputs' signature
        """See `Inputs`."""
        torch.index_select(self._table, 0, symbols, out=sums)


class RowsBelow:
    """The layer below, which has the same rows."""

    def __init__(self, below: StateTable) -> None:
        self._below = below
        self.width = below.hidden_size

    def fill(self, rows: slice, symbols: Tensor, *, lower: Tensor, sums: Tensor) -> None:  # noqa: ARG002 - Inputs' signature
        """See `Inputs`."""
        lower[:, : self.width] = self._below.rows[rows]


class PairsBelow:
    """Both directions of the layer below, side by side; a symbol is a place in the list of pairs.

    Attributes:
        pairs: The rows of each place's forward and backward state in the table below.
    """

    def __init__(self, below: StateTable) -> None:
        self._below = below
        self.width = 2 * below.hidden_size
        self.pairs: Int64[np.ndarray, "places 2"] = np.zeros((0, 2), np.int64)

    def fill(self, rows: slice, symbols: Tensor, *, lower: Tensor, sums: Tensor) -> None:  # noqa: ARG002 - Inputs' signature
        """See `Inputs`."""
        pairs = torch.from_numpy(self.pairs).to(symbols.device)[symbols]
        # (rows * 2, hidden) -> (rows, 2 * hidden)
        lower[:, : self.width] = self._below.rows.index_select(0, pairs.ravel()).view(len(symbols), -1)


def multiply(
    lower: Float32[Tensor, "rows inputs"], weights: LayerWeights, *, out: Float32[Tensor, "rows gates"]
) -> None:
    """Computes what inputs add to the gates, biases included."""
    torch.addmm(weights.bias, lower, weights.inputs, out=out)
