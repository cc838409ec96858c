"""Measures what the README claims: `make bench` prints ratios, each within one run.

A ratio above 1 says that we are faster. One intra-op thread on every side; client and server share the
machine.
"""

import argparse
import sys
from collections.abc import Callable, Iterable

import echo
import engine
import generator
import health
import merging
import networks
import ray_serve
import sdk
import torch
import vectors
from rich.console import Console
from rich.table import Table
from workloads import workloads

SECTIONS: dict[str, Callable[..., Iterable[Table]]] = {
    "engine": engine.tables,
    "networks": networks.tables,
    "sdk": sdk.tables,
    "echo": echo.tables,
    "generator": generator.tables,
    "merging": merging.tables,
    "health": health.tables,
    "vectors": vectors.tables,
    "serve": ray_serve.tables,
}


def main() -> int:
    """Prints the tables; gives the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--workloads", nargs="+", default=["S", "M", "L", "X", "text"])
    parser.add_argument("--budget-s", type=float, default=10.0, help="seconds for each row")
    options = parser.parse_args()
    torch.set_num_threads(1)
    chosen = [workload for workload in workloads() if workload.name in options.workloads]
    console = Console()
    for workload in chosen:
        console.print(workload.title)
    for name in options.sections:
        for table in SECTIONS[name](chosen, budget_s=options.budget_s):
            console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
