"""The proof that a row's bits do not depend on its batch, by measuring this machine's matrix library.

It runs the functions that steps run, over the row counts where libraries change kernels.
"""

from collections.abc import Sequence

import torch

from unrolled_server.engine.cells import Advance, RowCounts, RowRule, Stepper, kernels, row_multiple
from unrolled_server.engine.gated import GatedStepper
from unrolled_server.engine.gates import LayerShape
from unrolled_server.engine.samples import GatedSample, ProductSample, Sample, WidthSample
from unrolled_server.engine.vector_rows import ProductScratch, ProductShape

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


def find_rule(width: int, device: torch.device) -> RowRule:
    """Returns the fastest kernel with the smallest floor above which every row count gives the same bits.

    If no kernel has one, torch's runs in fixed tiles. Raises ProofError if not even those give the same bits.
    """
    rules = (_floor_rule(width, device, advance) for advance in kernels(width, device))
    return next(filter(None, rules), None) or _tile_rule(width, device)


def find_row_counts(shape: LayerShape, device: torch.device) -> RowCounts:
    """Returns the smallest floor for steps of a layer's shape, or fixed tiles; raises ProofError."""
    multiple, max_rows = row_multiple(shape.hidden), _max_rows(max(shape.gates, shape.inputs))
    sample: Sample = GatedSample(shape, row_count=max_rows, device=device)
    floor = _floor(sample, multiple=multiple, max_rows=max_rows)
    if floor is not None:
        return RowCounts(floor=floor, multiple=multiple, max_rows=max_rows)
    return _tiles(GatedSample(shape, row_count=_TILE_ROWS, device=device), shape.hidden)


def find_product_row_counts(shape: ProductShape, device: torch.device) -> RowCounts:
    """Returns the same for products of vectors with input weights; raises ProofError."""
    max_rows = _max_rows(max(shape))
    floor = _floor(ProductSample(shape, row_count=max_rows, device=device), multiple=1, max_rows=max_rows)
    if floor is not None:
        return RowCounts(floor=floor, multiple=1, max_rows=max_rows)
    return _tiles(ProductSample(shape, row_count=_TILE_ROWS, device=device), shape.gates)


def _floor_rule(width: int, device: torch.device, advance: Advance) -> RowRule | None:
    multiple, max_rows = row_multiple(width), _max_rows(width)
    floor = _floor(WidthSample(width, max_rows, device, advance), multiple=multiple, max_rows=max_rows)
    if floor is None:
        return None
    return RowRule(advance=advance, floor=floor, multiple=multiple, max_rows=max_rows)


def _tile_rule(width: int, device: torch.device) -> RowRule:
    """Returns the rule of one product size, if rows have the same bits at every place in it."""
    advance = kernels(width, device)[-1]
    _require_tiles(WidthSample(width, _TILE_ROWS, device, advance), width)
    return RowRule(advance=advance, floor=_TILE_ROWS, multiple=_TILE_ROWS, max_rows=_TILE_ROWS)


def _max_rows(width: int) -> int:
    """Returns the rows of the largest step: scratch and proof grow with it."""
    return 256 if width < _WIDE else 64


def _floor(sample: Sample, *, multiple: int, max_rows: int) -> int | None:
    counts = _COUNTS if max_rows > _WIDE_COUNTS[-1] else _WIDE_COUNTS
    failing = [count for count in _rounded(counts, multiple) if not sample.holds_at(count)]
    return next((floor for floor in _FLOORS if floor > max(failing, default=0)), None)


def _tiles(sample: Sample, width: int) -> RowCounts:
    _require_tiles(sample, width)
    return RowCounts(floor=_TILE_ROWS, multiple=_TILE_ROWS, max_rows=_TILE_ROWS)


def _require_tiles(sample: Sample, width: int) -> None:
    if not sample.holds_rolled():
        raise ProofError(
            f"products of {_TILE_ROWS} rows, {width} wide, give a row other bits at other places"
        )


def _rounded(counts: Sequence[int], multiple: int) -> list[int]:
    """Returns the counts that can occur under a row multiple."""
    return sorted({-(-count // multiple) * multiple for count in counts})
