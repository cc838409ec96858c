"""One step of any cell for many rows, the way of all networks but the plain one-layer RNN (see cells).

A file of its own because every float of those networks comes out of it, and the bits promise is kept or
broken here, by the same rules as in cells: products in one scratch, at padded shapes, with the floor's rows;
tanh over whole blocks; between them only additions and multiplications of single floats, which round alike
everywhere.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from unrolled_server.engine.cells import RowCounts
from unrolled_server.engine.gates import LayerShape, LayerWeights
from unrolled_server.engine.inputs import Inputs, multiply
from unrolled_server.engine.prefix_tree import Step
from unrolled_server.engine.spec import Cell, Nonlinearity
from unrolled_server.engine.states import StateTable


class GatedBlock(NamedTuple):
    """The scratch for one row count.

    Attributes:
        lower: The rows of the layer below.
        sums: Layer 0: the rows of the input table. They become the gates.
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


class GatedScratch:
    """The memory that the steps of one shape work in. Not thread-safe."""

    def __init__(self, shape: LayerShape, *, max_rows: int, device: torch.device) -> None:
        def rows(width: int) -> Tensor:
            return torch.zeros(max_rows, width, device=device)

        self._whole = GatedBlock(
            lower=rows(shape.inputs),
            sums=rows(shape.gates),
            states=rows(shape.state),
            cells=rows(shape.hidden if shape.cell is Cell.LSTM else 0),
            products=rows(shape.gates if shape.cell is Cell.GRU else 0),
            activated=rows(shape.gates if shape.cell is Cell.GRU else 0),
            hidden=rows(shape.hidden),
            results=rows(shape.state if shape.is_projected else 0),
        )
        self._is_projected = shape.is_projected
        self._blocks: dict[int, GatedBlock] = {}

    def clear(self) -> None:
        """Zeroes it all: no network may see in its padding what a wider one left there."""
        for tensor in self._whole:
            tensor.zero_()

    def block(self, row_count: int) -> GatedBlock:
        """Gives the first rows; kept, since slicing costs as much as a small product."""
        block = self._blocks.get(row_count)
        if block is None:
            block = GatedBlock(*(tensor[:row_count] for tensor in self._whole))
            if not self._is_projected:
                block = block._replace(results=block.hidden)
            self._blocks[row_count] = block
        return block


def advance(block: GatedBlock, weights: LayerWeights) -> None:
    """Computes ``results``, and the LSTM's ``cells`` in place.

    torch's equations: see the pages of torch.nn.RNN, torch.nn.LSTM and torch.nn.GRU.
    """
    if weights.shape.inputs:
        multiply(block.lower, weights, out=block.sums)
    _CELLS[weights.shape.cell](block, weights)
    if weights.shape.is_projected:
        torch.mm(block.hidden, weights.projection, out=block.results)


def _advance_rnn(block: GatedBlock, weights: LayerWeights) -> None:
    block.sums.addmm_(block.states, weights.recurrent)
    if weights.shape.nonlinearity is Nonlinearity.RELU:
        torch.clamp_min(block.sums, 0.0, out=block.hidden)
    else:
        _tanh(block.sums, out=block.hidden)


def _advance_lstm(block: GatedBlock, weights: LayerWeights) -> None:
    block.sums.addmm_(block.states, weights.recurrent)
    _tanh(block.sums, out=block.sums)
    input_gate, forget, candidate, output = _planes(block.sums, 4)
    for gate in (input_gate, forget, output):
        gate.mul_(0.5).add_(0.5)
    block.cells.mul_(forget).add_(input_gate.mul_(candidate))
    _tanh(block.cells, out=block.hidden)
    block.hidden.mul_(output)


def _advance_gru(block: GatedBlock, weights: LayerWeights) -> None:
    torch.addmm(weights.recurrent_bias, block.states, weights.recurrent, out=block.products)
    reset_sum, update_sum, candidate_sum = _planes(block.sums, 3)
    reset_product, update_product, candidate_product = _planes(block.products, 3)
    reset_sum.add_(reset_product)
    update_sum.add_(update_product)
    _tanh(block.sums, out=block.activated)  # the whole block; what the candidate's columns become is not read
    reset, update, _ = _planes(block.activated, 3)
    for gate in (reset, update):
        gate.mul_(0.5).add_(0.5)
    torch.mul(candidate_product, reset, out=block.hidden)
    _tanh(block.hidden.add_(candidate_sum), out=block.hidden)
    # (1 - update) * candidate + update * state, as torch computes it.
    block.hidden.add_(block.states.sub_(block.hidden).mul_(update))


_CELLS: dict[Cell, Callable[[GatedBlock, LayerWeights], None]] = {
    Cell.RNN: _advance_rnn,
    Cell.LSTM: _advance_lstm,
    Cell.GRU: _advance_gru,
}


def _planes(block: Float32[Tensor, "rows gates"], count: int) -> tuple[Tensor, ...]:
    """Gives each gate's columns, as views."""
    return block.view(len(block), count, -1).unbind(1)  # (rows, gates * hidden) -> gates of (rows, hidden)


def _tanh(sums: Tensor, *, out: Tensor) -> None:
    """Numpy's on the CPU, in a third of torch's time."""
    if sums.device.type == "cpu":
        np.tanh(sums.numpy(), out.numpy())
    else:
        torch.tanh(sums, out=out)


class GatedStepper:
    """Runs the steps of all layers of one shape, in one scratch. Not thread-safe."""

    def __init__(self, shape: LayerShape, *, rule: RowCounts, device: torch.device) -> None:
        self._rule = rule
        self._scratch = GatedScratch(shape, max_rows=rule.max_rows, device=device)
        self._sizes: tuple[int, ...] = ()

    def run(self, steps: Iterable[Step], layer: "Layer") -> None:
        """Computes the steps' rows into the layer's tables, in order; its shape is this stepper's."""
        sizes = (
            layer.inputs.width,
            layer.states.hidden_size,
            layer.cells.hidden_size if layer.cells else 0,
        )
        if sizes != self._sizes:
            self._scratch.clear()
            self._sizes = sizes
        for step in steps:
            for start in range(0, len(step.parents), self._rule.max_rows):
                self._run(step, slice(start, start + self._rule.max_rows), layer)

    def _run(self, step: Step, part: slice, layer: "Layer") -> None:
        device = layer.states.rows.device
        parents, symbols = (
            torch.as_tensor(of[part], dtype=torch.int64, device=device) for of in (step.parents, step.symbols)
        )
        count, first_row = len(parents), step.first_row + part.start
        rows = slice(first_row, first_row + count)
        block = self._scratch.block(self._rule.padded(count))
        layer.inputs.fill(rows, symbols, lower=block.lower[:count], sums=block.sums[:count])
        block.states[:count, : layer.states.hidden_size] = layer.states.rows.index_select(0, parents)
        if layer.cells:
            block.cells[:count, : layer.cells.hidden_size] = layer.cells.rows.index_select(0, parents)
        advance(block, layer.weights)
        layer.states.rows[rows] = block.results[:count, : layer.states.hidden_size]
        if layer.cells:
            layer.cells.rows[rows] = block.cells[:count, : layer.cells.hidden_size]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One direction of a layer, and the states of its prefixes.

    Attributes:
        weights: Its parameters.
        inputs: What it reads.
        states: h of each row; both directions of a layer share it.
        cells: c of each row, for an LSTM.
        stepper: Runs its shape's steps.
    """

    weights: LayerWeights
    inputs: Inputs
    states: StateTable
    cells: StateTable | None
    stepper: GatedStepper
