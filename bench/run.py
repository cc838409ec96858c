"""Compares speed with other implementations: `make bench` prints ratios, each within one run.

A ratio above 1 means that Unrolled is faster. Clients and servers share the machine; without a server each
side computes with one thread, except in the section threads. Where the CPU has AVX-512, the sections engine,
grid and steps run once more, in a process in which both sides are restricted to AVX2.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from functools import partial

import bulk
import client_calls
import echo
import engine
import grid
import health_checks
import load_generator
import overload
import ray_serve
import service
import startup
import steps
import threads
import torch
import word_vectors
from rich.console import Console
from rich.table import Table
from workloads import workloads

GRID = {"grid": grid.tables} | {f"grid-{cell}": partial(grid.tables, cells=[cell]) for cell in grid.CELLS}
SECTIONS: dict[str, Callable[..., Iterable[Table]]] = {
    "engine": engine.tables,
    **GRID,
    "steps": steps.tables,
    "threads": threads.tables,
    "networks": grid.layer_tables,
    "startup": startup.tables,
    "client": client_calls.tables,
    "bulk": bulk.tables,
    "service": service.tables,
    "overload": overload.tables,
    "health": health_checks.tables,
    "echo": echo.tables,
    "load-generator": load_generator.tables,
    "word-vectors": word_vectors.tables,
    "ray-serve": ray_serve.tables,
}
LONG = {*GRID, "bulk"}
ON_BOTH_ISAS = {"engine", *GRID, "steps"}
AVX2 = {
    "UNROLLED_ISA": "avx2",
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
}


def main() -> int:
    """Prints the tables; returns the exit code."""
    known = workloads()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--sections",
        nargs="+",
        choices=SECTIONS,
        default=[name for name in SECTIONS if name not in LONG],
        metavar="SECTION",
        help=f"any of {', '.join(SECTIONS)}; by default all but the grid and bulk, which take minutes",
    )
    parser.add_argument(
        "--workloads",
        nargs="+",
        choices=known,
        default=list(known),
        metavar="WORKLOAD",
        help=f"any of {', '.join(known)} (default: all); each section measures only some of them",
    )
    parser.add_argument("--budget-s", type=float, default=4.0, help="seconds for a table's row (default: 4)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    isa = engine.new_engine().isa
    console = Console(width=120)
    console.print(f"engine: {isa}; torch: {torch.backends.cpu.get_cpu_capability()}")
    chosen = [known[name] for name in options.workloads]
    for workload in chosen:
        console.print(workload.title)
    for name in options.sections:
        for table in SECTIONS[name](chosen, budget_s=options.budget_s):
            if table.row_count:
                console.print(table)
        if isa == "avx512" and name in ON_BOTH_ISAS:
            flags = ["--sections", name, "--budget-s", f"{options.budget_s}"]
            command = [sys.executable, __file__, *flags, "--workloads", *options.workloads]
            subprocess.run(command, env=os.environ | AVX2, check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
