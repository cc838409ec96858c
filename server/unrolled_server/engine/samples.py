"""Random steps for the proof: the same rows in other places, among other rows."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from jaxtyping import Float32
from torch import Tensor

from unrolled_server.engine.cells import Advance, Scratch
from unrolled_server.engine.gated import advance
from unrolled_server.engine.gated_scratch import GatedScratch, Room
from unrolled_server.engine.gates import LayerShape, LayerWeights
from unrolled_server.engine.inputs import multiply
from unrolled_server.engine.spec import Cell, Nonlinearity
from unrolled_server.engine.vector_rows import ProductShape
from unrolled_server.engine.weights import Weights


class Sample(ABC):
    """Random states and weights like those of a network, and the step's result over all of them at once."""

    def __init__(self, row_count: int, device: torch.device) -> None:
        self._row_count = row_count
        self._device = device
        self._whole = self._run(torch.arange(row_count, device=device)).clone()

    def holds_at(self, count: int) -> bool:
        """Returns whether products of ``count`` rows agree with the whole, for rows from several places."""
        return all(torch.equal(self._run(rows), self._whole[rows]) for rows in self._choices(count))

    def holds_rolled(self) -> bool:
        """Returns whether each row has the same bits at every place of a product of all rows."""
        rows = torch.arange(self._row_count, device=self._device)
        return all(
            torch.equal(self._run(rolled), self._whole[rolled])
            for rolled in (rows.roll(shift) for shift in range(1, self._row_count))
        )

    def _choices(self, count: int) -> Iterator[Tensor]:
        """Yields row choices that move rows: the last rows backwards, and one row everywhere."""
        last = torch.arange(self._row_count - 1, self._row_count - 1 - count, -1, device=self._device)
        yield last
        yield torch.full_like(last, count % self._row_count)

    @abstractmethod
    def _run(self, rows: Tensor) -> Float32[Tensor, "rows results"]:
        """Returns the step's result for these rows, computed at the start of a scratch, as steps are."""


class WidthSample(Sample):
    """Steps of the plain RNN, by one kernel."""

    def __init__(self, width: int, row_count: int, device: torch.device, advance: Advance) -> None:
        draw = _Draws(width, device)
        self._states, self._sums = draw(row_count, width), draw(row_count, width)
        recurrent = draw(width, width, limit=1.0 / math.sqrt(width)).T
        self._advance = advance
        self._weights = Weights.of(input_table=self._sums, recurrent=recurrent)
        self._scratch = Scratch(width=width, max_rows=row_count, device=device)
        super().__init__(row_count, device)

    def _run(self, rows: Tensor) -> Float32[Tensor, "rows results"]:
        block = self._scratch.block(len(rows), padded=len(rows), hidden_size=self._states.shape[1])
        torch.index_select(self._states, 0, rows, out=block.states)
        torch.index_select(self._sums, 0, rows, out=block.sums)
        self._advance(block, self._weights)
        return block.sums


class GatedSample(Sample):
    """Steps of one layer of any cell."""

    def __init__(self, shape: LayerShape, *, row_count: int, device: torch.device) -> None:
        draw = _Draws(shape.hidden, device)
        self._shape = shape
        self._scratch = GatedScratch(shape, max_rows=row_count, device=device)
        self._given = [draw(*tensor.shape) for tensor in self._room(row_count).block]
        self._weights = _layer_weights(shape, draw, limit=1.0 / math.sqrt(shape.hidden))
        super().__init__(row_count, device)

    def _run(self, rows: Tensor) -> Float32[Tensor, "rows results"]:
        room = self._room(len(rows))
        for given, tensor in zip(self._given, room.block, strict=True):
            torch.index_select(given, 0, rows, out=tensor)
        advance(room, self._weights)
        return torch.cat([room.block.results, room.block.cells], dim=1)

    def _room(self, count: int) -> Room:
        shape = self._shape
        return self._scratch.room(count, padded=count, state_size=shape.state, hidden_size=shape.hidden)


class ProductSample(Sample):
    """Products of vectors with input weights."""

    def __init__(self, shape: ProductShape, *, row_count: int, device: torch.device) -> None:
        draw = _Draws(shape.inputs, device)
        self._vectors = draw(row_count, shape.inputs)
        as_layer = LayerShape(Cell.RNN, Nonlinearity.TANH, shape.inputs, 0, shape.gates, is_projected=False)
        self._weights = _layer_weights(as_layer, draw, limit=1.0 / math.sqrt(shape.gates))
        self._lower, self._sums = torch.empty_like(self._vectors), draw(row_count, shape.gates)
        super().__init__(row_count, device)

    def _run(self, rows: Tensor) -> Float32[Tensor, "rows results"]:
        count = len(rows)
        torch.index_select(self._vectors, 0, rows, out=self._lower[:count])
        multiply(self._lower[:count], self._weights, out=self._sums[:count])
        return self._sums[:count]


def _layer_weights(shape: LayerShape, draw: "_Draws", *, limit: float) -> LayerWeights:
    """Returns random weights in the memory layout of `arrange`."""
    return LayerWeights(
        shape=shape,
        inputs=draw(shape.gates, shape.inputs, limit=limit).T,
        bias=draw(1, shape.gates, limit=limit),
        recurrent=draw(shape.gates, shape.state, limit=limit).T,
        recurrent_bias=draw(1, shape.gates, limit=limit),
        projection=draw(shape.state, shape.hidden if shape.is_projected else 0, limit=limit).T,
    )


class _Draws:
    """Uniform numbers from a seed."""

    def __init__(self, seed: int, device: torch.device) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self._device = device

    def __call__(self, rows: int, columns: int, *, limit: float = 1.0) -> Float32[Tensor, "rows columns"]:
        drawn = torch.empty(rows, columns).uniform_(-limit, limit, generator=self._generator)
        return drawn.to(self._device)
