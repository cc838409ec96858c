"""One step of the recurrence for many rows: tanh(table[symbol] + W_hh h).

A file of its own because every float of every reply comes out of it, and the bits promise is kept or broken
here: the same scratch memory each time, padded widths, never fewer rows than the floor, activation over whole
vector blocks.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from unrolled_server.engine.prefix_tree import Step
from unrolled_server.engine.states import StateTable
from unrolled_server.engine.weights import Weights, array_on_cpu

# Activations run over a multiple of this many elements: vector bodies and scalar tails may differ (design,
# section 4).
ACTIVATION_BLOCK = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class RowRule:
    """How many rows a product may have so that each row's bits are the same; found by the proof.

    Attributes:
        floor: The fewest rows.
        multiple: Row counts are a multiple of this.
        max_rows: The most rows; more become several products.
    """

    floor: int
    multiple: int
    max_rows: int

    def padded(self, row_count: int) -> int:
        """Gives the rows that are computed for ``row_count`` rows.

        >>> rule = RowRule(floor=4, multiple=2, max_rows=256)
        >>> rule.padded(1), rule.padded(7)
        (4, 8)
        """
        return max(self.floor, -(-row_count // self.multiple) * self.multiple)


def row_multiple(width: int) -> int:
    """Gives the multiple of rows that fills whole activation blocks at this width.

    >>> row_multiple(16), row_multiple(256)
    (4, 1)
    """
    return ACTIVATION_BLOCK // math.gcd(ACTIVATION_BLOCK, width)


def advance(
    states: Float32[Tensor, "rows width"],
    sums: Float32[Tensor, "rows width"],
    recurrent: Float32[Tensor, "width width"],
) -> None:
    """Turns ``sums``, which holds the rows of the input table, into the next states, in place."""
    sums.addmm_(states, recurrent)
    sums.tanh_()


class _Block(NamedTuple):
    """The scratch for one row count; kept, since slicing a tensor costs as much as a small product.

    Attributes:
        padded_states: The rows of the product, the floor's included.
        padded_sums: Likewise.
        states: The rows asked for, as an array on the CPU's memory; without rows on other devices.
        sums: Likewise.
    """

    padded_states: Float32[Tensor, "padded width"]
    padded_sums: Float32[Tensor, "padded width"]
    states: Float32[np.ndarray, "rows width"]
    sums: Float32[np.ndarray, "rows width"]


class Stepper:
    """Runs the steps of all networks of one padded width, in one scratch. Not thread-safe."""

    def __init__(self, *, width: int, rule: RowRule, device: torch.device) -> None:
        self._rule = rule
        self._states = torch.zeros(rule.max_rows, width, device=device)
        self._sums = torch.zeros(rule.max_rows, width, device=device)
        self._blocks: dict[int, _Block] = {}
        self._width = self._hidden_size = width

    def run(self, steps: Iterable[Step], weights: Weights, table: StateTable) -> None:
        """Computes the steps' rows into the table, in order."""
        if self._hidden_size != table.hidden_size:
            self._states.zero_()  # no network may see in its padding what a wider one left there
            self._hidden_size = table.hidden_size
        run_step = self._run_on_cpu if table.is_on_cpu else self._run_on_device
        for step in self._split(steps):
            run_step(step, weights, table)

    def _split(self, steps: Iterable[Step]) -> Iterator[Step]:
        """Gives steps of at most ``max_rows`` rows."""
        max_rows = self._rule.max_rows
        for step in steps:
            if len(step.parents) <= max_rows:
                yield step
                continue
            for start in range(0, len(step.parents), max_rows):
                part = slice(start, start + max_rows)
                yield Step(step.first_row + start, step.parents[part], step.symbols[part])

    def _run_on_cpu(self, step: Step, weights: Weights, table: StateTable) -> None:
        """Computes one product. numpy gathers at half of torch's cost per call, on the same memory."""
        first_row, parents, symbols = step
        row_count, hidden_size, rows = len(parents), table.hidden_size, table.rows_on_cpu
        padded_states, padded_sums, states, sums = self._blocks.get(row_count) or self._new_block(row_count)
        if hidden_size == self._width:
            rows.take(parents, axis=0, out=states, mode="clip")
        else:
            states[:, :hidden_size] = rows.take(parents, axis=0)
        weights.input_rows_on_cpu.take(symbols, axis=0, out=sums, mode="clip")
        advance(padded_states, padded_sums, weights.recurrent)
        rows[first_row : first_row + row_count] = sums[:, :hidden_size]

    def _run_on_device(self, step: Step, weights: Weights, table: StateTable) -> None:
        """The same as `_run_on_cpu`, by torch, on any device."""
        first_row, parents, symbols = step
        row_count, hidden_size, device = len(parents), table.hidden_size, self._states.device
        block = self._blocks.get(row_count) or self._new_block(row_count)
        parent_rows, symbol_rows = (torch.as_tensor(rows, device=device) for rows in (parents, symbols))
        self._states[:row_count, :hidden_size] = table.rows.index_select(0, parent_rows)
        self._sums[:row_count] = weights.input_table.index_select(0, symbol_rows)
        advance(block.padded_states, block.padded_sums, weights.recurrent)
        table.rows[first_row : first_row + row_count] = self._sums[:row_count, :hidden_size]

    def _new_block(self, row_count: int) -> _Block:
        """Slices the scratch. Rows added for the floor hold leftovers that nobody reads."""
        padded = self._rule.padded(row_count)
        states, sums = self._states[:padded], self._sums[:padded]
        states_on_cpu, sums_on_cpu = (array_on_cpu(rows[:row_count]) for rows in (states, sums))
        block = self._blocks[row_count] = _Block(states, sums, states_on_cpu, sums_on_cpu)
        return block
