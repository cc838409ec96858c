"""A network's layers: what computes its new rows, and where their states lie.

A file of its own because a network should not care which way its rows are computed: the plain one-layer RNN
has a loop of its own (cells), all others are a stack of layers (gated).
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch

from unrolled_server.engine.cells import Stepper
from unrolled_server.engine.draws import draw
from unrolled_server.engine.gated import Layer
from unrolled_server.engine.gates import arrange, layer_floats, shape_of
from unrolled_server.engine.prefix_tree import Step
from unrolled_server.engine.proof import Proof
from unrolled_server.engine.spec import Cell, NetworkSpec, Nonlinearity
from unrolled_server.engine.states import StateTable
from unrolled_server.engine.weights import Weights, draw_weights, padded_width, weights_nbytes


@runtime_checkable
class Layers(Protocol):
    """Computes rows into tables that grow together.

    Attributes:
        states: h of each layer, from the input on; the last one's rows are the network's outputs.
        cells: c of each layer, for an LSTM; else empty.
    """

    states: Sequence[StateTable]
    cells: Sequence[StateTable]

    def run(self, steps: Sequence[Step]) -> None:
        """Computes the steps' rows, in order."""


class PlainLayer:
    """One tanh layer over one-hot symbols, the lesson's network."""

    def __init__(self, weights: Weights, *, stepper: Stepper, hidden_size: int, device: torch.device) -> None:
        self._weights = weights
        self._stepper = stepper
        self._table = StateTable(hidden_size, device)
        self.states: Sequence[StateTable] = (self._table,)
        self.cells: Sequence[StateTable] = ()

    def run(self, steps: Sequence[Step]) -> None:
        """See `Layers`."""
        self._stepper.run(steps, self._weights, self._table)


class StackedLayers:
    """Layers of any cell, one upon the other."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._layers = layers
        self.states: Sequence[StateTable] = [layer.states for layer in layers]
        self.cells: Sequence[StateTable] = [layer.cells for layer in layers if layer.cells]

    def run(self, steps: Sequence[Step]) -> None:
        """See `Layers`."""
        lower = None
        for layer in self._layers:
            layer.stepper.run(steps, layer, lower)
            lower = layer.states


def is_plain(spec: NetworkSpec) -> bool:
    """Whether a network is the lesson's kind."""
    return (
        spec.cell is Cell.RNN
        and spec.nonlinearity is Nonlinearity.TANH
        and spec.num_layers == 1
        and spec.bias
        and spec.is_one_hot
    )


def layers_nbytes(spec: NetworkSpec) -> int:
    """Gives the size of a network's weights without drawing them."""
    if is_plain(spec):
        return weights_nbytes(spec)
    shapes = [shape_of(spec, layer) for layer in range(spec.num_layers)]
    return 4 * sum(layer_floats(shape, symbol_count=spec.symbol_count) for shape in shapes)


def draw_layers(spec: NetworkSpec, *, proof: Proof, device: torch.device) -> Layers:
    """Draws a network's weights and makes its tables, empty.

    Raises:
        ProofError: This machine can't keep the bits promise for its shape.
    """
    if is_plain(spec):
        stepper = proof.stepper(padded_width(spec.hidden_size))
        weights = draw_weights(spec, device)
        return PlainLayer(weights, stepper=stepper, hidden_size=spec.hidden_size, device=device)
    shapes = [shape_of(spec, layer) for layer in range(spec.num_layers)]
    steppers = [proof.gated_stepper(shape) for shape in shapes]
    drawn = draw(spec)
    return StackedLayers(
        [
            Layer(
                weights=arrange(parameters, shape, embedding=drawn.embedding, device=device),
                states=StateTable(spec.state_size, device),
                cells=StateTable(spec.hidden_size, device) if spec.cell is Cell.LSTM else None,
                stepper=stepper,
            )
            for parameters, shape, stepper in zip(drawn.layers, shapes, steppers, strict=True)
        ]
    )
