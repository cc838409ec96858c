"""Compares speed with other implementations: `make bench` prints ratios, each within one run.

A ratio above 1 means that Unrolled is faster. Every side uses one intra-op thread; client and server share
the machine. On a machine with AVX-512 this compares both sides with AVX2:

    UNROLLED_ISA=avx2 ATEN_CPU_CAPABILITY=avx2 MKL_ENABLE_INSTRUCTIONS=AVX2 ONEDNN_MAX_CPU_ISA=AVX2 make bench
"""

import argparse
import sys
from collections.abc import Callable, Iterable

import client_calls
import coalescing
import echo
import engine
import health_checks
import load_generator
import networks
import ray_serve
import startup
import torch
import word_vectors
from rich.console import Console
from rich.table import Table
from workloads import workloads

SECTIONS: dict[str, Callable[..., Iterable[Table]]] = {
    "engine": engine.tables,
    "startup": startup.tables,
    "networks": networks.tables,
    "client": client_calls.tables,
    "echo": echo.tables,
    "load-generator": load_generator.tables,
    "coalescing": coalescing.tables,
    "health": health_checks.tables,
    "word-vectors": word_vectors.tables,
    "ray-serve": ray_serve.tables,
}


def main() -> int:
    """Prints the tables; returns the exit code."""
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
