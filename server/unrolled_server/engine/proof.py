"""The proof that a row's bits don't depend on its batch.

A file of its own because the bits promise rests on what a matrix library happens to do on this machine, and
that is measured here, not assumed. It runs the very function that steps run (`cells.kernels`), over the row
counts where libraries change kernels, with every row at other positions and beside other neighbours.
"""

import math
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float32
from torch import Tensor

from unrolled_server.engine.cells import (
    Advance,
    RowRule,
    Scratch,
    Stepper,
    kernels,
    row_multiple,
)
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
    """Finds the row rule of each padded width, once, and keeps it with the stepper that follows it."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._steppers: dict[int, Stepper] = {}

    def stepper(self, width: int) -> Stepper:
        """Gives the stepper for states of ``width`` columns, proving the width when it is first met.

        Raises:
            ProofError: No rule holds on this machine.
        """
        stepper = self._steppers.get(width)
        if stepper is None:
            rule = find_rule(width, self._device)
            stepper = self._steppers[width] = Stepper(width=width, rule=rule, device=self._device)
        return stepper


def find_rule(width: int, device: torch.device) -> RowRule:
    """Gives the fastest kernel with the smallest floor above which every row count gives the same bits.

    Where no kernel has one, torch's runs in fixed tiles.

    Raises:
        ProofError: Not even fixed tiles do.
    """
    rules = (_floor_rule(width, device, advance) for advance in kernels(width, device))
    return next(filter(None, rules), None) or _tile_rule(width, device)


def _floor_rule(width: int, device: torch.device, advance: Advance) -> RowRule | None:
    """Gives a kernel's smallest floor, if there is one."""
    multiple = row_multiple(width)
    max_rows, counts = (256, _COUNTS) if width < _WIDE else (64, _WIDE_COUNTS)
    sample = _Sample(width, max_rows, device, advance)
    failing = [count for count in _rounded(counts, multiple) if not sample.holds_at(count)]
    floor = next((floor for floor in _FLOORS if floor > max(failing, default=0)), None)
    if floor is None:
        return None
    return RowRule(advance=advance, floor=floor, multiple=multiple, max_rows=max_rows)


def _tile_rule(width: int, device: torch.device) -> RowRule:
    """Gives the rule of one product size, once rows are shown to have the same bits at every place in it."""
    advance = kernels(width, device)[-1]
    if not _Sample(width, _TILE_ROWS, device, advance).holds_rolled():
        raise ProofError(
            f"products of {_TILE_ROWS} rows, {width} wide, give a row other bits at other places"
        )
    return RowRule(advance=advance, floor=_TILE_ROWS, multiple=_TILE_ROWS, max_rows=_TILE_ROWS)


def _rounded(counts: Sequence[int], multiple: int) -> list[int]:
    """Gives the counts that can occur under a row multiple."""
    return sorted({-(-count // multiple) * multiple for count in counts})


class _Sample:
    """Random states and weights like those of a network, and the step's result over all of them at once."""

    def __init__(self, width: int, row_count: int, device: torch.device, advance: Advance) -> None:
        generator = torch.Generator().manual_seed(width)
        bound = 1.0 / math.sqrt(width)
        draws = ((row_count, width, 1.0), (row_count, width, 1.0), (width, width, bound))
        self._states, self._sums, recurrent = (
            torch.empty(rows, columns).uniform_(-limit, limit, generator=generator).to(device)
            for rows, columns, limit in draws
        )
        self._row_count = row_count
        self._advance = advance
        self._weights = Weights.of(input_table=self._sums, recurrent=recurrent)
        self._scratch = Scratch(width=width, max_rows=row_count, device=device)
        self._whole = self._run(torch.arange(row_count, device=device)).clone()

    def holds_at(self, count: int) -> bool:
        """Whether products of ``count`` rows agree with the whole, for rows from several places."""
        return all(torch.equal(self._run(rows), self._whole[rows]) for rows in self._choices(count))

    def holds_rolled(self) -> bool:
        """Whether each row keeps its bits at every place of a product of all rows."""
        rows = torch.arange(self._row_count, device=self._whole.device)
        return all(
            torch.equal(self._run(rolled), self._whole[rolled])
            for rolled in (rows.roll(shift) for shift in range(1, self._row_count))
        )

    def _choices(self, count: int) -> Iterator[Tensor]:
        """Row choices that put a row elsewhere: the last rows backwards, and one row everywhere."""
        last = torch.arange(self._row_count - 1, self._row_count - 1 - count, -1, device=self._whole.device)
        yield last
        yield torch.full_like(last, count % self._row_count)

    def _run(self, rows: Tensor) -> Float32[Tensor, "rows width"]:
        """Gives the step's result for these rows, computed at the start of a scratch, as steps are."""
        block = self._scratch.block(len(rows), padded=len(rows), hidden_size=self._states.shape[1])
        torch.index_select(self._states, 0, rows, out=block.states)
        torch.index_select(self._sums, 0, rows, out=block.sums)
        self._advance(block, self._weights)
        return block.sums
