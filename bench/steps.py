"""Compares the engine's steps with `torch.addmm(out=)` of the same shape, one thread each side.

The engine's time is that of a whole call: encoding words, finding their prefixes, memory for their states,
input rows, activations and the reply of last states. Torch's is that of the products alone.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import torch
from baselines import network_of
from engine import engine_ways
from paired_timing import Way, measure
from rich.table import Table
from unrolled_server.engine import Cell, Output
from unrolled_server.engine.spec import GATES
from workloads import Workload

HIDDEN_SIZES = (256, 512, 1_024)
ROWS = (64, 256)
SYMBOLS = "".join(map(chr, range(256, 512)))  # one first symbol for each row


def products(row_count: int, hidden_size: int, column_count: int, *, count: int) -> Callable[[], None]:
    """Returns a call of `count` products of states and weights, added to input rows."""
    inputs, out = torch.randn(row_count, column_count), torch.empty(row_count, column_count)
    states, weights = torch.randn(row_count, hidden_size), torch.randn(hidden_size, column_count)

    def call() -> None:
        with torch.inference_mode():
            for _ in range(count):
                torch.addmm(inputs, states, weights, out=out)

    return call


def tables(_workloads: Sequence[Workload], *, budget_s: float) -> Iterator[Table]:
    """Yields one table; a row takes a tenth of the budget, or five rounds."""
    columns = ("rows a step", "addmm, GFLOP/s", "engine, GFLOP/s", "engine / addmm")
    table = Table("", *columns, title="steps of new states")
    for cell, hidden_size, row_count in itertools.product(Cell, HIDDEN_SIZES, ROWS):
        step_count = 16_384 // hidden_size
        words = [first + SYMBOLS[0] * (step_count - 1) for first in SYMBOLS[:row_count]]
        workload = Workload(name="steps", words=words, alphabet=SYMBOLS, hidden_size=hidden_size)
        ours = engine_ways(network_of(workload, cell=cell), workload, output=Output.LAST)["first"]
        shapes = (row_count, hidden_size, GATES[cell] * hidden_size)
        ways = {"addmm": Way(call=products(*shapes, count=step_count)), "engine": ours}
        taken = measure(ways, budget_s=budget_s / 10)
        flop = 2 * step_count * math.prod(shapes)
        rates = (f"{flop / timing.ms / 1e6:.0f}" for timing in taken.values())
        ratio = taken["engine"].times_as_fast_as(taken["addmm"])
        table.add_row(f"{cell.name} {hidden_size}", f"{row_count}", *rates, f"{ratio:.2f}")
    yield table
