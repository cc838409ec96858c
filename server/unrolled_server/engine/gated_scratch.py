"""The memory for steps of one layer shape, sliced once for each row count to save calls in small steps."""

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
    """All of the memory, with as many rows as a product has.

    ``lower`` are the rows of the layer below; ``sums`` the looked-up rows or products of ``lower``, which
    become the gates; ``states`` those before the step, ``hidden`` and, if projected, ``results`` those after.
    The LSTM has ``cells``; the GRU ``products``, its recurrent part, and ``activated``, its gates.
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
    """The columns of a block's gates: all, those of the sigmoid gates (which come first), and each gate's."""

    whole: Rows
    sigmoids: Rows
    each: tuple[Rows, ...]

    @staticmethod
    def of(tensor: Tensor, shape: LayerShape) -> "GateArrays":
        """Returns the gates in a tensor on the CPU; without rows on other devices."""
        whole, hidden = array_on_cpu(tensor), shape.hidden
        count = whole.shape[1] // hidden if hidden else 0
        each = tuple(whole[:, gate * hidden : (gate + 1) * hidden] for gate in range(count))
        return GateArrays(whole, whole[:, : SIGMOIDS[shape.cell] * hidden], each)


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """The memory for steps of one row count.

    The arrays share the tensors' memory on the CPU and have no rows on other devices. Rows beyond the step's
    own ``row_count`` hold leftovers that are never read. A step fills ``lower_rows`` of ``lower``,
    ``input_rows`` of ``sums``, ``parent_rows`` of ``states`` and ``parent_cells`` of ``cells``.
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
        """Zeroes all memory: no network may see in its padding what a wider one left there."""
        for tensor in self._whole:
            tensor.zero_()

    def room(self, row_count: int, *, padded: int, state_size: int, hidden_size: int) -> Room:
        """Slices the memory for steps of ``row_count`` rows, whose products have ``padded``.

        ``state_size`` and ``hidden_size`` are the columns that states and cells really have.
        """
        shape, block = self._shape, GatedBlock(*(tensor[:padded] for tensor in self._whole))
        sums = GateArrays.of(block.sums, shape)
        states, cells = array_on_cpu(block.states), array_on_cpu(block.cells)
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
