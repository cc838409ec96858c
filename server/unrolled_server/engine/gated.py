"""One step of any cell for many rows, for all networks but the plain RNN (see `cells`)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unrolled_server.engine.cells import RowCounts, parts_of
from unrolled_server.engine.gated_scratch import GatedBlock, GatedScratch, Room
from unrolled_server.engine.gates import LayerShape, LayerWeights
from unrolled_server.engine.inputs import Inputs, multiply
from unrolled_server.engine.prefix_tree import Step
from unrolled_server.engine.spec import GATES, Cell, Nonlinearity
from unrolled_server.engine.states import StateTable


def advance(room: Room, weights: LayerWeights) -> None:
    """Computes ``results``, and the LSTM's ``cells`` in place.

    Equations: see the pages of torch.nn.RNN, torch.nn.LSTM and torch.nn.GRU. Products run in one scratch at
    padded shapes, tanh over whole blocks; all else is additions and multiplications of single floats, which
    round alike everywhere. On the CPU products run in torch, whose threads are set, and the rest in numpy, at
    a fifth of torch's cost per call.
    """
    shape, block = weights.shape, room.block
    if shape.inputs:
        multiply(block.lower, weights, out=block.sums)
    on_cpu, on_device = _STEPS[shape.cell]
    if block.sums.device.type == "cpu":
        on_cpu(room, weights)
    else:
        on_device(block, weights)
    if shape.is_projected:
        torch.mm(block.hidden, weights.projection, out=block.results)


def _rnn_on_cpu(room: Room, weights: LayerWeights) -> None:
    room.block.sums.addmm_(room.block.states, weights.recurrent)
    if weights.shape.nonlinearity is Nonlinearity.RELU:
        np.maximum(room.sums.whole, 0.0, out=room.hidden)
        np.add(room.hidden, 0.0, room.hidden)  # turns -0.0 into 0.0, whichever maximum chose
    else:
        np.tanh(room.sums.whole, room.hidden)


def _lstm_on_cpu(room: Room, weights: LayerWeights) -> None:
    sums, cells, hidden = room.sums, room.cells, room.hidden
    room.block.sums.addmm_(room.block.states, weights.recurrent)
    np.tanh(sums.whole, sums.whole)
    np.multiply(sums.sigmoids, 0.5, sums.sigmoids)
    np.add(sums.sigmoids, 0.5, sums.sigmoids)
    input_gate, forget, output, candidate = sums.each
    np.multiply(cells, forget, cells)
    np.multiply(input_gate, candidate, input_gate)
    np.add(cells, input_gate, cells)
    np.tanh(cells, hidden)
    np.multiply(hidden, output, hidden)


def _gru_on_cpu(room: Room, weights: LayerWeights) -> None:
    block, hidden, states, activated = room.block, room.hidden, room.states, room.activated
    torch.addmm(weights.recurrent_bias, block.states, weights.recurrent, out=block.products)
    np.add(room.sums.sigmoids, room.products.sigmoids, room.sums.sigmoids)
    np.tanh(room.sums.whole, activated.whole)  # the candidate's columns are not used
    np.multiply(activated.sigmoids, 0.5, activated.sigmoids)
    np.add(activated.sigmoids, 0.5, activated.sigmoids)
    reset, update, _ = activated.each
    np.multiply(room.products.each[2], reset, hidden)
    np.add(hidden, room.sums.each[2], hidden)
    np.tanh(hidden, hidden)
    # (1 - update) * candidate + update * state, as torch computes it.
    np.subtract(states, hidden, states)
    np.multiply(states, update, states)
    np.add(hidden, states, hidden)


def _rnn_on_device(block: GatedBlock, weights: LayerWeights) -> None:
    block.sums.addmm_(block.states, weights.recurrent)
    if weights.shape.nonlinearity is Nonlinearity.RELU:
        torch.clamp_min(block.sums, 0.0, out=block.hidden)
    else:
        torch.tanh(block.sums, out=block.hidden)


def _lstm_on_device(block: GatedBlock, weights: LayerWeights) -> None:
    block.sums.addmm_(block.states, weights.recurrent).tanh_()
    input_gate, forget, output, candidate = _planes(block.sums, Cell.LSTM)
    for gate in (input_gate, forget, output):
        gate.mul_(0.5).add_(0.5)
    block.cells.mul_(forget).add_(input_gate.mul_(candidate))
    torch.tanh(block.cells, out=block.hidden)
    block.hidden.mul_(output)


def _gru_on_device(block: GatedBlock, weights: LayerWeights) -> None:
    torch.addmm(weights.recurrent_bias, block.states, weights.recurrent, out=block.products)
    reset_sum, update_sum, candidate_sum = _planes(block.sums, Cell.GRU)
    reset_product, update_product, candidate_product = _planes(block.products, Cell.GRU)
    reset_sum.add_(reset_product)
    update_sum.add_(update_product)
    torch.tanh(block.sums, out=block.activated)
    reset, update, _ = _planes(block.activated, Cell.GRU)
    for gate in (reset, update):
        gate.mul_(0.5).add_(0.5)
    torch.mul(candidate_product, reset, out=block.hidden)
    block.hidden.add_(candidate_sum).tanh_()
    block.hidden.add_(block.states.sub_(block.hidden).mul_(update))


def _planes(gates: Tensor, cell: Cell) -> tuple[Tensor, ...]:
    # (rows, gates * hidden) -> gates of (rows, hidden)
    return gates.view(len(gates), GATES[cell], -1).unbind(1)


_STEPS = {
    Cell.RNN: (_rnn_on_cpu, _rnn_on_device),
    Cell.LSTM: (_lstm_on_cpu, _lstm_on_device),
    Cell.GRU: (_gru_on_cpu, _gru_on_device),
}


class GatedStepper:
    """Runs the steps of all layers of one shape, in one scratch. Not thread-safe."""

    def __init__(self, shape: LayerShape, *, rule: RowCounts, device: torch.device) -> None:
        self._rule = rule
        self._scratch = GatedScratch(shape, max_rows=rule.max_rows, device=device)
        self._rooms: dict[int, Room] = {}
        self._sizes = (0, 0, 0)
        self._state_width = shape.state

    @np.errstate(over="ignore", invalid="ignore")
    def run(self, steps: Sequence[Step], layer: "Layer") -> None:
        """Computes the steps' rows into the tables of a layer of this shape, in order.

        Initial states may overflow to inf or NaN, as in torch, so numpy's warnings are suppressed.
        """
        states, cells = layer.states, layer.cells
        sizes = (layer.inputs.width, states.hidden_size, cells.hidden_size if cells else 0)
        if sizes != self._sizes:
            self._scratch.clear()
            self._rooms.clear()
            self._sizes = sizes
        layer.inputs.prepare(steps)
        run_all = self._run_on_cpu if states.is_on_cpu else self._run_on_device
        run_all(parts_of(steps, max_rows=self._rule.max_rows), layer)

    def _run_on_cpu(self, steps: Iterator[Step], layer: "Layer") -> None:
        """Look-ups stand before the loop, because small work is all calls and look-ups."""
        find_room, fill, weights = self._rooms.get, layer.inputs.fill, layer.weights
        states = layer.states.rows_on_cpu
        cells = layer.cells.rows_on_cpu if layer.cells else None
        is_narrow = layer.states.hidden_size < self._state_width
        for first_row, parents, symbols in steps:
            count = len(parents)
            room = find_room(count) or self._new_room(count)
            rows = slice(first_row, first_row + count)
            fill(room, rows, symbols)
            if is_narrow:
                room.parent_rows[...] = states.take(parents, 0)
            else:
                states.take(parents, 0, room.parent_rows, "clip")
            if cells is not None:
                room.parent_cells[...] = cells.take(parents, 0)
            advance(room, weights)
            states[rows] = room.results
            if cells is not None:
                cells[rows] = room.parent_cells

    def _run_on_device(self, steps: Iterator[Step], layer: "Layer") -> None:
        _, state_size, hidden_size = self._sizes
        for first_row, parents, symbols in steps:
            count = len(parents)
            room = self._rooms.get(count) or self._new_room(count)
            rows, block = slice(first_row, first_row + count), room.block
            parent_rows = torch.as_tensor(parents, dtype=torch.int64, device=block.sums.device)
            layer.inputs.fill(room, rows, symbols)
            block.states[:count, :state_size] = layer.states.rows.index_select(0, parent_rows)
            if layer.cells:
                block.cells[:count, :hidden_size] = layer.cells.rows.index_select(0, parent_rows)
            advance(room, layer.weights)
            layer.states.rows[rows] = block.results[:count, :state_size]
            if layer.cells:
                layer.cells.rows[rows] = block.cells[:count, :hidden_size]

    def _new_room(self, row_count: int) -> Room:
        _, state_size, hidden_size = self._sizes
        padded = self._rule.padded(row_count)
        room = self._scratch.room(row_count, padded=padded, state_size=state_size, hidden_size=hidden_size)
        self._rooms[row_count] = room
        return room


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One direction of a layer; h and, for an LSTM, c of its prefixes, in tables that directions share."""

    weights: LayerWeights
    inputs: Inputs
    states: StateTable
    cells: StateTable | None
    stepper: GatedStepper
