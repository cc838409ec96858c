"""The memory that steps of one layer shape work in, and its views for each row count.

A file of its own because small steps are all views and calls: what can be sliced once is sliced here.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from unrolled_server.engine.gates import SIGMOIDS, LayerShape
from unrolled_server.engine.spec import Cell
from unrolled_server.engine.weights import array_on_cpu

Rows = Float32[np.ndarray, "_ _"]


class GatedBlock(NamedTuple):
    """All of the memory, as many rows as a product has.

    Attributes:
        lower: The rows of the layer below.
        sums: Rows that are looked up, or products of what is below. They become the gates.
        states: The states before.
        cells: The LSTM's cell states, before and after.
        products: The GRU's recurrent part.
        activated: The GRU's gates.
        hidden: The states after, before a projection.
        results: The states after.
    """

    lower: Float32[Tensor, "rows inputs"]
    sums: Float32[Tensor, "rows gates"]
    states: Float32[Tensor, "rows state"]
    cells: Float32[Tensor, "rows hidden"]
    products: Float32[Tensor, "rows gates"]
    activated: Float32[Tensor, "rows gates"]
    hidden: Float32[Tensor, "rows hidden"]
    results: Float32[Tensor, "rows state"]


class GateArrays(NamedTuple):
    """Columns of a block's gates as arrays.

    Attributes:
        whole: All of them.
        sigmoids: Those of the sigmoid gates, which come first.
        each: Of each gate.
    """

    whole: Rows
    sigmoids: Rows
    each: tuple[Rows, ...]

    @staticmethod
    def of(tensor: Tensor, shape: LayerShape) -> "GateArrays":
        """The gates in a tensor on the CPU; without rows on other devices."""
        whole, hidden = array_on_cpu(tensor), shape.hidden
        count = whole.shape[1] // hidden if hidden else 0
        each = tuple(whole[:, gate * hidden : (gate + 1) * hidden] for gate in range(count))
        return GateArrays(whole, whole[:, : SIGMOIDS[shape.cell] * hidden], each)


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """The memory for steps of one row count.

    The arrays are the tensors' memory on the CPU, and without rows on other devices. Rows beyond the step's
    own hold leftovers that nobody reads.

    Attributes:
        row_count: The step's own rows.
        block: As many rows as its products have.
        sums: Its gates.
        products: The GRU's recurrent part of them.
        activated: The GRU's gates, done.
        states: Of the block.
        cells: Likewise.
        hidden: Likewise.
        lower_rows: What a step fills of ``lower``.
        input_rows: Of ``sums``.
        parent_rows: Of ``states``.
        parent_cells: Of ``cells``.
        results: What it keeps of ``results``.
    """

    row_count: int
    block: GatedBlock
    sums: GateArrays
    products: GateArrays
    activated: GateArrays
    states: Rows
    cells: Rows
    hidden: Rows
    lower_rows: Rows
    input_rows: Rows
    parent_rows: Rows
    parent_cells: Rows
    results: Rows


class GatedScratch:
    """The memory of one shape. Not thread-safe."""

    def __init__(self, shape: LayerShape, *, max_rows: int, device: torch.device) -> None:
        def rows(width: int) -> Tensor:
            return torch.zeros(max_rows, width, device=device)

        is_gru = shape.cell is Cell.GRU
        hidden = rows(shape.hidden)
        self._shape = shape
        self._whole = GatedBlock(
            lower=rows(shape.inputs),
            sums=rows(shape.gates),
            states=rows(shape.state),
            cells=rows(shape.hidden if shape.cell is Cell.LSTM else 0),
            products=rows(shape.gates * is_gru),
            activated=rows(shape.gates * is_gru),
            hidden=hidden,
            results=rows(shape.state) if shape.is_projected else hidden,
        )

    def clear(self) -> None:
        """Zeroes it all: no network may see in its padding what a wider one left there."""
        for tensor in self._whole:
            tensor.zero_()

    def room(self, row_count: int, *, padded: int, state_size: int, hidden_size: int) -> Room:
        """Slices the memory.

        Args:
            row_count: Of a step.
            padded: Of its products.
            state_size: Columns that states really have.
            hidden_size: Columns that cells really have.
        """
        shape, block = self._shape, GatedBlock(*(tensor[:padded] for tensor in self._whole))
        sums, states, cells = (
            GateArrays.of(block.sums, shape),
            array_on_cpu(block.states),
            array_on_cpu(block.cells),
        )
        return Room(
            row_count=row_count,
            block=block,
            sums=sums,
            products=GateArrays.of(block.products, shape),
            activated=GateArrays.of(block.activated, shape),
            states=states,
            cells=cells,
            hidden=array_on_cpu(block.hidden),
            lower_rows=array_on_cpu(block.lower)[:row_count],
            input_rows=sums.whole[:row_count],
            parent_rows=states[:row_count, :state_size],
            parent_cells=cells[:row_count, :hidden_size],
            results=array_on_cpu(block.results)[:row_count, :state_size],
        )
