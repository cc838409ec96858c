"""One layer's parameters as its steps use them: gates side by side, padded, each with its own columns."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float32
from torch import Tensor

from unrolled_server.engine.draws import LayerParameters
from unrolled_server.engine.memory import zeros
from unrolled_server.engine.spec import GATES, Cell, NetworkSpec, Nonlinearity
from unrolled_server.engine.weights import factor, padded_width

# torch's gates in our order, sigmoids first: the LSTM's i, f, g, o become i, f, o, g; the GRU's are r, z, n.
_ORDER = {Cell.RNN: [0], Cell.LSTM: [0, 1, 3, 2], Cell.GRU: [0, 1, 2]}
SIGMOIDS = {Cell.RNN: 0, Cell.LSTM: 3, Cell.GRU: 2}
"""How many of a cell's gates are sigmoids; they come first."""


class LayerShape(NamedTuple):
    """The columns of a layer's steps; one proof and one scratch serve all layers of a shape.

    ``inputs`` come from the layer below, 0 where sums are looked up; ``hidden`` are those of each gate.
    """

    cell: Cell
    nonlinearity: Nonlinearity
    inputs: int
    state: int
    hidden: int
    is_projected: bool

    @property
    def gates(self) -> int:
        return GATES[self.cell] * self.hidden


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerWeights:
    """One direction's parameters of a layer, zero-padded.

    ``inputs`` are weights from the layer or vectors below, and ``bias`` is added to their products; for
    one-hot symbols ``inputs`` have what each symbol adds, biases included. ``recurrent_bias`` is that of the
    GRU's new gate, inside its reset, and zero elsewhere.
    """

    shape: LayerShape
    inputs: Float32[Tensor, "rows gates"]
    bias: Float32[Tensor, "1 gates"]
    recurrent: Float32[Tensor, "state gates"]
    recurrent_bias: Float32[Tensor, "1 gates"]
    projection: Float32[Tensor, "_ state"]


def shape_of(spec: NetworkSpec, layer: int) -> LayerShape:
    """Returns the shape of one layer of a network."""
    return LayerShape(
        cell=spec.cell,
        nonlinearity=spec.nonlinearity,
        inputs=padded_width(spec.output_size) if layer else 0,
        state=padded_width(spec.state_size),
        hidden=padded_width(spec.hidden_size),
        is_projected=spec.proj_size > 0,
    )


def input_rows(spec: NetworkSpec, layer: int) -> int:
    """Returns the rows of a layer's input weights."""
    if layer:
        return padded_width(spec.output_size)
    return spec.symbol_count if spec.is_one_hot else padded_width(spec.embedding_size)


def weight_floats(spec: NetworkSpec) -> int:
    """Returns the size of all layers' weights without making them."""
    count = 0
    for layer in range(spec.num_layers):
        shape = shape_of(spec, layer)
        count += (input_rows(spec, layer) + shape.state + 2) * shape.gates
        count += shape.is_projected * shape.hidden * shape.state
    drawn = 0 if spec.is_one_hot or spec.vectors else spec.symbol_count * spec.embedding_size
    return spec.directions * count + drawn


def arrange(
    parameters: LayerParameters, shape: LayerShape, *, is_one_hot: bool, device: torch.device
) -> LayerWeights:
    """Pads a layer's parameters and halves the columns of sigmoid gates.

    sigmoid(x) = tanh(x / 2) / 2 + 1 / 2, and halving is exact, so one tanh over a whole block serves all
    gates. For one-hot symbols the inputs become a table of what each symbol adds.
    """
    hidden = parameters.weight_hh.shape[0] // GATES[shape.cell]
    bias, recurrent_bias = _biases(parameters, shape.cell, hidden)
    inputs = parameters.weight_ih.T
    if is_one_hot:
        inputs = _columns(inputs + bias, shape, out=torch.from_numpy(zeros(len(inputs), shape.gates)))
    else:
        inputs = _columns(inputs, shape, out=factor(padded_width(len(inputs)), shape.gates))
    projection = factor(shape.hidden if shape.is_projected else 0, shape.state)
    if parameters.weight_hr is not None:
        projection[:hidden, : len(parameters.weight_hr)] = parameters.weight_hr.T
    return LayerWeights(
        shape=shape,
        inputs=inputs.to(device),
        bias=_columns(bias, shape, out=torch.zeros(1, shape.gates)).to(device),
        recurrent=_columns(parameters.weight_hh.T, shape, out=factor(shape.state, shape.gates)).to(device),
        recurrent_bias=_columns(recurrent_bias, shape, out=torch.zeros(1, shape.gates)).to(device),
        projection=projection.to(device),
    )


def _biases(
    parameters: LayerParameters, cell: Cell, hidden: int
) -> tuple[Float32[Tensor, "1 gates"], Float32[Tensor, "1 gates"]]:
    """Returns what is added to the inputs, and what only the GRU's new gate adds to its recurrent part."""
    gates = len(parameters.weight_hh)
    bias, recurrent = torch.zeros(1, gates), torch.zeros(1, gates)
    if parameters.bias_ih is None or parameters.bias_hh is None:
        return bias, recurrent
    bias += parameters.bias_ih + parameters.bias_hh
    if cell is Cell.GRU:
        bias[0, -hidden:] = parameters.bias_ih[-hidden:]
        recurrent[0, -hidden:] = parameters.bias_hh[-hidden:]
    return bias, recurrent


def _columns(
    matrix: Float32[Tensor, "given_rows given_gates"],
    shape: LayerShape,
    *,
    out: Float32[Tensor, "rows gates"],
) -> Float32[Tensor, "rows gates"]:
    """Copies each gate into its own columns of ``out``, which is zero, in our order, sigmoid gates halved."""
    count = GATES[shape.cell]
    # (rows, gates * hidden) -> (rows, gates, hidden)
    planes, given = out.view(len(out), count, shape.hidden), matrix.reshape(len(matrix), count, -1)
    planes[: len(matrix), :, : given.shape[2]] = given[:, _ORDER[shape.cell]]
    planes[:, : SIGMOIDS[shape.cell]] *= 0.5
    return out
