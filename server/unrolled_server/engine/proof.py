"""The proof that a row's bits do not depend on its batch, by measuring this machine's matrix library.

It runs the functions that steps run, over the row counts where libraries change kernels.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial

import torch
from jaxtyping import Float32
from torch import Tensor

from unrolled_server.engine.cells import Advance, RowCounts, RowRule, Scratch, Stepper, kernels, row_multiple
from unrolled_server.engine.gated import GatedStepper, advance
from unrolled_server.engine.gated_scratch import GatedScratch, Room
from unrolled_server.engine.gates import LayerShape, LayerWeights
from unrolled_server.engine.inputs import multiply
from unrolled_server.engine.spec import Cell, Nonlinearity
from unrolled_server.engine.vector_rows import ProductScratch, ProductShape
from unrolled_server.engine.weights import Weights

START_WIDTHS = (16, 32, 64, 256)
_FLOORS = (4, 8, 16, 32)
_TILE_ROWS = 64
_WIDE = 1024
_COUNTS = (*range(4, 41), 47, 48, 49, 63, 64, 65, 95, 96, 97, 127, 128, 129, 191, 192, 193, 255, 256)
_WIDE_COUNTS = (4, 5, 6, 7, 8, 9, 12, 13, 15, 16, 17, 24, 31, 32, 33, 48, 63, 64)


class ProofError(RuntimeError):
    """This machine gives a row different bits at different places, even in products of one fixed size."""


class Proof:
    """Finds the row rule of each shape once, and caches it with the stepper that follows it."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._steppers: dict[int, Stepper] = {}
        self._gated_steppers: dict[LayerShape, GatedStepper] = {}
        self._product_scratches: dict[ProductShape, ProductScratch] = {}

    @property
    def shape_count(self) -> int:
        return len(self._steppers) + len(self._gated_steppers) + len(self._product_scratches)

    def stepper(self, width: int) -> Stepper:
        """Returns the stepper for states of ``width`` columns, proved at first use; raises ProofError."""
        if width not in self._steppers:
            rule = find_rule(width, self._device)
            self._steppers[width] = Stepper(width=width, rule=rule, device=self._device)
        return self._steppers[width]

    def gated_stepper(self, shape: LayerShape) -> GatedStepper:
        """Returns the stepper for layers of a shape, proved at first use; raises ProofError."""
        if shape not in self._gated_steppers:
            rule = find_row_counts(shape, self._device)
            self._gated_steppers[shape] = GatedStepper(shape, rule=rule, device=self._device)
        return self._gated_steppers[shape]

    def product_scratch(self, shape: ProductShape) -> ProductScratch:
        """Returns the scratch for products of vectors, proved at first use; raises ProofError."""
        if shape not in self._product_scratches:
            rule = find_product_row_counts(shape, self._device)
            self._product_scratches[shape] = ProductScratch(shape, rule=rule, device=self._device)
        return self._product_scratches[shape]


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

    def __init__(self, width: int, device: torch.device, advance: Advance, row_count: int) -> None:
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

    def __init__(self, shape: LayerShape, device: torch.device, row_count: int) -> None:
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

    def __init__(self, shape: ProductShape, device: torch.device, row_count: int) -> None:
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


def find_rule(width: int, device: torch.device) -> RowRule:
    """Returns the fastest kernel with the smallest floor above which every row count gives the same bits.

    If no kernel has one, torch's runs in fixed tiles. Raises ProofError if not even those give the same bits.
    """
    for kernel in kernels(width, device):
        sample_of = partial(WidthSample, width, device, kernel)
        counts = _floor_counts(sample_of, multiple=row_multiple(width), width=width)
        if counts:
            return RowRule(advance=kernel, **asdict(counts))
    return RowRule(advance=kernel, **asdict(_tiles(sample_of, width)))


def find_row_counts(shape: LayerShape, device: torch.device) -> RowCounts:
    """Returns the smallest floor for steps of a layer's shape, or fixed tiles; raises ProofError."""
    sample_of, width = partial(GatedSample, shape, device), max(shape.gates, shape.inputs)
    counts = _floor_counts(sample_of, multiple=row_multiple(shape.hidden), width=width)
    return counts or _tiles(sample_of, shape.hidden)


def find_product_row_counts(shape: ProductShape, device: torch.device) -> RowCounts:
    """Returns the same for products of vectors with input weights; raises ProofError."""
    sample_of = partial(ProductSample, shape, device)
    return _floor_counts(sample_of, multiple=1, width=max(shape)) or _tiles(sample_of, shape.gates)


def _floor_counts(sample_of: Callable[[int], Sample], *, multiple: int, width: int) -> RowCounts | None:
    """Returns the smallest floor above which every row count gives the same bits, if there is one."""
    is_wide = width >= _WIDE
    max_rows = 64 if is_wide else 256  # scratch and proof grow with it
    counts = {-(-count // multiple) * multiple for count in (_WIDE_COUNTS if is_wide else _COUNTS)}
    sample = sample_of(max_rows)
    failing = [count for count in sorted(counts) if not sample.holds_at(count)]
    floor = next((floor for floor in _FLOORS if floor > max(failing, default=0)), None)
    return None if floor is None else RowCounts(floor=floor, multiple=multiple, max_rows=max_rows)


def _tiles(sample_of: Callable[[int], Sample], width: int) -> RowCounts:
    """Returns the rule of one product size, if rows have the same bits at every place in it."""
    if not sample_of(_TILE_ROWS).holds_rolled():
        raise ProofError(
            f"products of {_TILE_ROWS} rows, {width} wide, give a row other bits at other places"
        )
    return RowCounts(floor=_TILE_ROWS, multiple=_TILE_ROWS, max_rows=_TILE_ROWS)
