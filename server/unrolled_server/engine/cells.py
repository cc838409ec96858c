"""One step of the plain RNN for many rows: tanh(table[symbol] + W_hh h)."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from unrolled_server.engine.prefix_tree import Step
from unrolled_server.engine.states import StateTable
from unrolled_server.engine.weights import Weights, array_on_cpu

# Activations run over a multiple of this many elements, because vector bodies and scalar tails may differ.
ACTIVATION_BLOCK = 64
# OpenBLAS, numpy's library, uses one thread up to 2**18 multiplications: 256 rows of 32 columns.
_MAX_NUMPY_WIDTH = 32


class Block(NamedTuple):
    """The scratch for one row count, cached because slicing costs as much as a small product.

    A step fills ``parents_on_cpu``, which is a part of ``states``, and ``inputs_on_cpu``, a part of ``sums``;
    ``sums`` become the next states, of which it stores ``results_on_cpu``. The arrays share the tensors'
    memory on the CPU and have no rows on other devices.
    """

    states: Float32[Tensor, "padded width"]
    sums: Float32[Tensor, "padded width"]
    states_on_cpu: Float32[np.ndarray, "_ width"]
    sums_on_cpu: Float32[np.ndarray, "_ width"]
    products_on_cpu: Float32[np.ndarray, "_ width"]
    parents_on_cpu: Float32[np.ndarray, "_ hidden"]
    inputs_on_cpu: Float32[np.ndarray, "_ width"]
    results_on_cpu: Float32[np.ndarray, "_ hidden"]


Advance = Callable[[Block, Weights], None]
"""Turns the sums of a block into the next states, in place."""


def advance_by_numpy(block: Block, weights: Weights) -> None:
    """Takes a third of torch's time at 16 columns, where calls dominate."""
    sums, products = block.sums_on_cpu, block.products_on_cpu
    block.states_on_cpu.dot(weights.recurrent_on_cpu, products)
    np.add(products, sums, sums)
    np.tanh(sums, sums)


def advance_by_both(block: Block, weights: Weights) -> None:
    """Multiplies by torch, whose threads are set, and takes tanh by numpy, in a third of torch's time."""
    block.sums.addmm_(block.states, weights.recurrent)
    np.tanh(block.sums_on_cpu, block.sums_on_cpu)


def advance_by_torch(block: Block, weights: Weights) -> None:
    """Works on every device."""
    block.sums.addmm_(block.states, weights.recurrent)
    block.sums.tanh_()


def kernels(width: int, device: torch.device) -> Sequence[Advance]:
    """Returns the kernels for states of one width, the fastest first (measured)."""
    if device.type != "cpu":
        return (advance_by_torch,)
    if width > _MAX_NUMPY_WIDTH:
        return (advance_by_both, advance_by_torch)
    return (advance_by_numpy, advance_by_both, advance_by_torch)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowCounts:
    """How many rows are computed together so that each row's bits are the same; found by the proof.

    At least ``floor`` and a multiple of ``multiple``; steps of more than ``max_rows`` rows are split.
    """

    floor: int
    multiple: int
    max_rows: int

    def padded(self, row_count: int) -> int:
        """Returns how many rows are computed for ``row_count`` rows.

        >>> counts = RowCounts(floor=4, multiple=2, max_rows=256)
        >>> counts.padded(1), counts.padded(7)
        (4, 8)
        """
        return max(self.floor, -(-row_count // self.multiple) * self.multiple)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowRule(RowCounts):
    """Row counts and kernel for steps of one width."""

    advance: Advance


def row_multiple(width: int) -> int:
    """Returns the multiple of rows that fills whole activation blocks at this width.

    >>> row_multiple(16), row_multiple(256)
    (4, 1)
    """
    return ACTIVATION_BLOCK // math.gcd(ACTIVATION_BLOCK, width)


class Scratch:
    """The memory for the steps of one width. Not thread-safe."""

    def __init__(self, *, width: int, max_rows: int, device: torch.device) -> None:
        self._states = torch.zeros(max_rows, width, device=device)
        self._sums = torch.zeros(max_rows, width, device=device)
        self._products = torch.empty(max_rows, width, device=device)

    def clear(self) -> None:
        self._states.zero_()

    def block(self, row_count: int, *, padded: int, hidden_size: int) -> Block:
        """Slices the memory. Rows added for the floor hold leftovers that are never read."""
        states, sums, products = (rows[:padded] for rows in (self._states, self._sums, self._products))
        states_on_cpu, sums_on_cpu, products_on_cpu = map(array_on_cpu, (states, sums, products))
        return Block(
            states=states,
            sums=sums,
            states_on_cpu=states_on_cpu,
            sums_on_cpu=sums_on_cpu,
            products_on_cpu=products_on_cpu,
            parents_on_cpu=states_on_cpu[:row_count, :hidden_size],
            inputs_on_cpu=sums_on_cpu[:row_count],
            results_on_cpu=sums_on_cpu[:row_count, :hidden_size],
        )


def parts_of(steps: Iterable[Step], *, max_rows: int) -> Iterator[Step]:
    """Yields steps of at most ``max_rows`` rows."""
    for step in steps:
        if len(step.parents) <= max_rows:
            yield step
            continue
        for start in range(0, len(step.parents), max_rows):
            part = slice(start, start + max_rows)
            yield Step(step.first_row + start, step.parents[part], step.symbols[part])


class Stepper:
    """Runs the steps of all networks of one padded width, in one scratch. Not thread-safe."""

    def __init__(self, *, width: int, rule: RowRule, device: torch.device) -> None:
        self._rule = rule
        self._scratch = Scratch(width=width, max_rows=rule.max_rows, device=device)
        self._blocks: dict[int, Block] = {}
        self._width = self._hidden_size = width

    def run(self, steps: Iterable[Step], weights: Weights, table: StateTable) -> None:
        if self._hidden_size != table.hidden_size:
            self._scratch.clear()  # no network may see in its padding what a wider one left there
            self._blocks.clear()
            self._hidden_size = table.hidden_size
        run_all = self._run_on_cpu if table.is_on_cpu else self._run_on_device
        run_all(parts_of(steps, max_rows=self._rule.max_rows), weights, table)

    def _run_on_cpu(self, steps: Iterable[Step], weights: Weights, table: StateTable) -> None:
        """Computes one product a step. numpy gathers at half of torch's cost per call, on the same memory.

        Arguments are positional and look-ups stand before the loop: small work is all calls and look-ups.
        """
        find_block, advance, is_narrow = self._blocks.get, self._rule.advance, self._hidden_size < self._width
        rows, input_rows = table.rows_on_cpu, weights.input_rows_on_cpu
        for first_row, parents, symbols in steps:
            row_count = len(parents)
            block = find_block(row_count) or self._new_block(row_count)
            if is_narrow:
                block.parents_on_cpu[...] = rows.take(parents, 0)
            else:
                rows.take(parents, 0, block.parents_on_cpu, "clip")
            input_rows.take(symbols, 0, block.inputs_on_cpu, "clip")
            advance(block, weights)
            rows[first_row : first_row + row_count] = block.results_on_cpu

    def _run_on_device(self, steps: Iterable[Step], weights: Weights, table: StateTable) -> None:
        hidden_size = table.hidden_size
        for first_row, parents, symbols in steps:
            row_count = len(parents)
            block = self._blocks.get(row_count) or self._new_block(row_count)
            device = block.states.device
            parent_rows, symbol_rows = (torch.as_tensor(rows, device=device) for rows in (parents, symbols))
            block.states[:row_count, :hidden_size] = table.rows.index_select(0, parent_rows)
            block.sums[:row_count] = weights.input_table.index_select(0, symbol_rows)
            self._rule.advance(block, weights)
            table.rows[first_row : first_row + row_count] = block.sums[:row_count, :hidden_size]

    def _new_block(self, row_count: int) -> Block:
        padded = self._rule.padded(row_count)
        block = self._scratch.block(row_count, padded=padded, hidden_size=self._hidden_size)
        self._blocks[row_count] = block
        return block
