"""Compares two threads inside the engine with one, for new states."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from baselines import network_of
from engine import engine_ways, new_engine
from paired_timing import measure
from rich.table import Table
from workloads import Workload

NETWORK_COUNT = 100


def tables(workloads: Sequence[Workload], *, budget_s: float) -> Iterator[Table]:
    """Yields one table, with a row for each of X, text and M that is among the workloads."""
    named = {workload.name: workload for workload in workloads}
    cases = {
        "X": ("X", 256, 1),
        "text, RNN 512": ("text", 512, 1),
        f"M, {NETWORK_COUNT} networks in one batch": ("M", 256, NETWORK_COUNT),
    }
    table = Table("", "one thread, ms", "two threads, ms", "one / two", title="threads of the engine")
    for title, (workload_name, hidden_size, network_count) in cases.items():
        if workload_name not in named:
            continue
        workload = replace(named[workload_name], hidden_size=hidden_size)
        ways = {
            name: engine_ways(
                network_of(workload),
                workload,
                network_count=network_count,
                make_engine=partial(new_engine, threads=count),
            )["first"]
            for name, count in (("one", 1), ("two", 2))
        }
        taken = measure(ways, budget_s=budget_s)
        ratio = taken["two"].times_as_fast_as(taken["one"])
        table.add_row(title, *(f"{timing.ms:.2f}" for timing in taken.values()), f"{ratio:.2f}")
    yield table
