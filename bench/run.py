"""Measures what the README claims: `make bench` prints ratios against local torch, each within one run.

A ratio above 1 says that we are faster. One intra-op thread on every side; client and server share the
machine.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from pairs import measure, ratio
from rich.console import Console
from rich.table import Table
from unrolled_client import Client
from unrolled_server.engine import Alphabet, Engine, Job, NetworkSpec
from workloads import LocalTorch, Workload, workloads


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One comparison: what ran, milliseconds of the rival and of ours, and their ratio."""

    title: str
    rival_ms: float
    ours_ms: float
    ratio: float


def engine_row(workload: Workload, *, budget_s: float) -> Row:
    """The engine from words to array, network known, against the module kept."""
    engine, rival = Engine(device="cpu"), LocalTorch(workload)
    network = NetworkSpec(
        input_size=len(workload.alphabet), hidden_size=workload.hidden_size, seed=workload.seed
    )
    alphabet = Alphabet(workload.alphabet)

    def ours() -> object:
        return next(engine.run([Job(network=network, words=alphabet.encode(workload.words))]))

    return compare(workload.title, lambda: rival.forward(workload.words), ours, budget_s=budget_s)


def client_row(workload: Workload, client: Client, *, budget_s: float) -> Row:
    """The SDK's call against the module kept."""
    rival = LocalTorch(workload)

    def ours() -> object:
        return client.forward(
            workload.words,
            hidden_size=workload.hidden_size,
            seed=workload.seed,
            alphabet=workload.alphabet,
        )

    return compare(workload.title, lambda: rival.forward(workload.words), ours, budget_s=budget_s)


@contextmanager
def server_process(address: str) -> Iterator[str]:
    """A server in a process of its own; gives the address that it tells in its ready line."""
    command = [
        sys.executable,
        "-m",
        "unrolled_server",
        "--address",
        address,
        "--device",
        "cpu",
        "--log-level",
        "warning",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        ready = server.stdout.readline() if server.stdout else ""
        try:
            yield ready.removeprefix("unrolled-server ready on ").split(" | ")[0]
        finally:
            server.terminate()


Way = Callable[[], object]


def compare(title: str, rival: Way, ours: Way, *, budget_s: float) -> Row:
    """Times both in turn."""
    timings = measure({"rival": rival, "ours": ours}, budget_s=budget_s)
    return Row(
        title=title,
        rival_ms=timings["rival"].median * 1e3,
        ours_ms=timings["ours"].median * 1e3,
        ratio=ratio(timings["rival"], timings["ours"]),
    )


def sections(names: Sequence[str], *, budget_s: float) -> Iterator[tuple[str, list[Row]]]:
    """Every table, as soon as it is measured."""
    chosen = [workload for workload in workloads() if workload.name in names]
    yield "engine, network known", [engine_row(workload, budget_s=budget_s) for workload in chosen]
    with tempfile.TemporaryDirectory(prefix="unrolled-") as folder:
        for kind, address in (("TCP", "127.0.0.1:0"), ("Unix socket", f"unix:{folder}/s")):
            with server_process(address) as target, Client(target) as client:
                rows = [client_row(workload, client, budget_s=budget_s) for workload in chosen]
            yield f"SDK's call over {kind}, server in its own process", rows


def main() -> int:
    """Prints the tables; gives the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workloads", nargs="+", default=["S", "M", "L"], help="of S M L X text")
    parser.add_argument("--budget-s", type=float, default=4.0, help="seconds for each row")
    options = parser.parse_args()
    torch.set_num_threads(1)
    console = Console()
    for title, rows in sections(options.workloads, budget_s=options.budget_s):
        table = Table("workload", "local torch, ms", "unrolled, ms", "times as fast", title=title)
        for row in rows:
            table.add_row(row.title, f"{row.rival_ms:.3f}", f"{row.ours_ms:.3f}", f"{row.ratio:.2f}")
        console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
