"""Compares new states with torch's over cells, hidden sizes, layers and shapes of text."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from baselines import network_of
from engine import compare, row_of
from rich.table import Table
from unrolled_server.engine import Cell, Nonlinearity
from workloads import Workload

HIDDEN_SIZES = (2, 16, 64, 128, 256, 512, 1_024)
CELLS: dict[str, dict[str, Any]] = {
    "RNN": {"cell": Cell.RNN},
    "LSTM": {"cell": Cell.LSTM},
    "GRU": {"cell": Cell.GRU},
    "BiLSTM": {"cell": Cell.LSTM, "bidirectional": True},
}
BOTH_WAYS = {"bidirectional": True}
LEAST_RATIO = 0.95


def tables(
    workloads: Sequence[Workload], *, budget_s: float, cells: Sequence[str] = tuple(CELLS)
) -> Iterator[Table]:
    """Yields a table for each cell, without X and with 400 sentences; a ratio takes a tenth of the budget."""
    texts = {text.name: text for text in workloads if text.name != "X"}
    if "sentences" in texts:
        texts["sentences"] = replace(texts["sentences"], words=texts["sentences"].words[:400])
    for cell in cells:
        table = Table("hidden", *texts, title=f"grid: torch / first, {cell}")
        slower = []
        for hidden_size in HIDDEN_SIZES:
            row = []
            for name, text in texts.items():
                workload = replace(text, hidden_size=hidden_size)
                spec = network_of(workload, **CELLS[cell])
                taken = compare(spec, workload, budget_s=budget_s / 10, ours=("first",))
                ratio = taken["first"].times_as_fast_as(taken["torch"])
                row.append(f"{ratio:.2f}")
                slower += [f"{name} {hidden_size}"] if ratio < LEAST_RATIO else []
            table.add_row(f"{hidden_size}", *row)
        table.caption = f"below {LEAST_RATIO}: {', '.join(slower) or 'none'}"
        yield table


def layer_tables(workloads: Sequence[Workload], *, budget_s: float) -> Iterator[Table]:
    """Yields one table, for L: networks with relu, two layers and two directions."""
    networks: dict[str, dict[str, Any]] = {"RNN, relu": {"nonlinearity": Nonlinearity.RELU}}
    for cell in Cell:
        for name, options in {
            "2 layers": {"num_layers": 2},
            "both ways": BOTH_WAYS,
            "2 layers both ways": BOTH_WAYS | {"num_layers": 2},
        }.items():
            networks[f"{cell.name}, {name}"] = {"cell": cell, **options}
    for workload in workloads:
        if workload.name != "L":
            continue
        times = ("torch, ms", "first, ms", "known, ms")
        table = Table("", *times, "torch / first", "/ known", title=f"networks: {workload.title}")
        for name, options in networks.items():
            taken = compare(network_of(workload, **options), workload, budget_s=budget_s)
            table.add_row(name, *row_of(taken))
        yield table
