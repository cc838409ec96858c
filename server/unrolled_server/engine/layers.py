"""A network's layers: the plain one-layer RNN has a loop of its own, all others are stacked."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch

from unrolled_server.engine.cells import Stepper
from unrolled_server.engine.draws import draw
from unrolled_server.engine.gated import GatedStepper, Layer
from unrolled_server.engine.gates import LayerWeights, arrange, shape_of, weight_floats
from unrolled_server.engine.inputs import Inputs, PairsBelow, RowsBelow, SymbolRows
from unrolled_server.engine.prefix_tree import Step
from unrolled_server.engine.proof import Proof
from unrolled_server.engine.spec import Cell, NetworkSpec, Nonlinearity
from unrolled_server.engine.states import StateTable
from unrolled_server.engine.vector_rows import DrawnVectors, ProductShape, VectorRows, Vectors
from unrolled_server.engine.weights import Weights, weights_nbytes


@runtime_checkable
class Layers(Protocol):
    """Computes rows into tables that grow together.

    ``states`` has h of each layer, from the input on, and ``cells`` c for an LSTM; the last layer's states
    are the network's outputs. ``inputs`` are those that may hold memory.
    """

    states: Sequence[StateTable]
    cells: Sequence[StateTable]
    inputs: Sequence[Inputs]

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
        self.inputs: Sequence[Inputs] = ()

    def run(self, steps: Sequence[Step]) -> None:
        self._stepper.run(steps, self._weights, self._table)


class StackedLayers:
    """Layers of any cell, stacked, in one direction."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._layers = layers
        self.states: Sequence[StateTable] = [layer.states for layer in layers]
        self.cells: Sequence[StateTable] = [layer.cells for layer in layers if layer.cells]
        self.inputs: Sequence[Inputs] = [layer.inputs for layer in layers]

    def run(self, steps: Sequence[Step]) -> None:
        for layer in self._layers:
            layer.stepper.run(steps, layer)


def is_plain(spec: NetworkSpec) -> bool:
    """Returns whether a network is of the lesson's kind."""
    return (
        spec.cell is Cell.RNN
        and spec.nonlinearity is Nonlinearity.TANH
        and spec.num_layers == 1
        and spec.bias
        and spec.is_one_hot
        and not spec.bidirectional
    )


def layers_nbytes(spec: NetworkSpec) -> int:
    """Returns the size of a network's weights without drawing them."""
    return weights_nbytes(spec) if is_plain(spec) else 4 * weight_floats(spec)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A network's weights, by layer and direction, laid out for its steps; ``vectors`` unless one-hot."""

    spec: NetworkSpec
    weights: Sequence[Sequence[LayerWeights]]
    steppers: Sequence[GatedStepper]
    vectors: Vectors | None
    proof: Proof
    device: torch.device

    def layers(self) -> Sequence[Sequence[Layer]]:
        """Returns the layers, each in its directions, with empty tables that these share."""
        below: StateTable | None = None
        layers = []
        for weights, stepper in zip(self.weights, self.steppers, strict=True):
            states = StateTable(self.spec.state_size, self.device)
            cells = StateTable(self.spec.hidden_size, self.device) if self.spec.cell is Cell.LSTM else None
            layers.append(
                [
                    Layer(
                        weights=of_direction,
                        inputs=self._first_inputs(of_direction) if below is None else self._inputs(below),
                        states=states,
                        cells=cells,
                        stepper=stepper,
                    )
                    for of_direction in weights
                ]
            )
            below = states
        return layers

    def _inputs(self, below: StateTable) -> Inputs:
        return PairsBelow(below) if self.spec.bidirectional else RowsBelow(below)

    def _first_inputs(self, weights: LayerWeights) -> Inputs:
        if self.vectors is None:
            return SymbolRows(weights.inputs)
        shape = ProductShape(inputs=weights.inputs.shape[0], gates=weights.shape.gates)
        scratch = self.proof.product_scratch(shape)
        return VectorRows(self.vectors, weights, scratch=scratch, device=self.device)


def draw_layers(spec: NetworkSpec, *, vectors: Vectors | None, proof: Proof, device: torch.device) -> Drawn:
    """Draws any network's weights, with the vectors that its spec names; raises ProofError."""
    shapes = [shape_of(spec, layer) for layer in range(spec.num_layers)]
    steppers = [proof.gated_stepper(shape) for shape in shapes]
    drawn = draw(spec)
    weights = [
        [
            arrange(parameters, shape, is_one_hot=spec.is_one_hot and not layer, device=device)
            for parameters in directions
        ]
        for layer, (directions, shape) in enumerate(zip(drawn.layers, shapes, strict=True))
    ]
    if drawn.embedding is not None:
        vectors = DrawnVectors(drawn.embedding)
    return Drawn(spec=spec, weights=weights, steppers=steppers, vectors=vectors, proof=proof, device=device)
