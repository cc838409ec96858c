"""Measures starts up to the ready line, in turn with importing torch, and the memory of an idle server."""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

import psutil
from paired_timing import Way, measure
from rich.table import Table
from servers import server_process
from workloads import Workload


def tables(_workloads: Sequence[Workload], *, budget_s: float) -> Iterator[Table]:
    """Yields one table."""
    command = [sys.executable, "-c", "import torch"]
    importing = Way(call=lambda: subprocess.run(command, check=True))
    taken = measure({"torch": importing, "ready": Way(call=starting_s)}, budget_s=budget_s)
    with server_process("127.0.0.1:0"):
        (server,) = psutil.Process().children()
        resident_bytes = server.memory_info().rss
    table = Table("import torch, s", "ready, s", "ready / import", "idle resident, MiB", title="startup")
    torch, ready = taken["torch"], taken["ready"]
    table.add_row(
        f"{torch.ms / 1e3:.2f}",
        f"{ready.ms / 1e3:.2f}",
        f"{torch.times_as_fast_as(ready):.2f}",
        f"{resident_bytes / 2**20:.0f}",
    )
    yield table


def starting_s(*flags: str) -> float:
    """Returns the seconds until the ready line."""
    began_s = time.perf_counter()
    with server_process("127.0.0.1:0", *flags):
        return time.perf_counter() - began_s
