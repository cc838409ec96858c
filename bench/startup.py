"""Measures starts of a server and of a local client beside importing torch, and a server's idle memory."""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

import psutil
from paired_timing import Way, measure
from rich.table import Table
from servers import server_process
from workloads import Workload

LOCAL = """
from unrolled import Client
with Client.local(device="cpu") as client:
    client.forward(["hello"], hidden_size=2)
"""


def tables(_workloads: Sequence[Workload], *, budget_s: float) -> Iterator[Table]:
    """Yields one table."""
    ways = {"torch": running("import torch"), "ready": Way(call=starting_s), "local": running(LOCAL)}
    taken = measure(ways, budget_s=budget_s)
    with server_process("127.0.0.1:0"):
        (server,) = psutil.Process().children()
        resident_bytes = server.memory_info().rss
    names = ("import torch", "server ready", "answer of Client.local()")
    ratios = [taken["torch"].times_as_fast_as(taken[name]) for name in ("ready", "local")]
    headings = [*(f"{name}, s" for name in names), "ready / import", "answer / import", "idle server, MiB"]
    table = Table(*headings, title="startup")
    seconds = (f"{timing.ms / 1e3:.2f}" for timing in taken.values())
    table.add_row(*seconds, *(f"{ratio:.2f}" for ratio in ratios), f"{resident_bytes / 2**20:.0f}")
    yield table


def running(code: str) -> Way:
    """Returns a process of Python that runs the code."""
    return Way(call=lambda: subprocess.run([sys.executable, "-c", code], check=True))


def starting_s(*flags: str) -> float:
    """Returns the seconds until the ready line."""
    began_s = time.perf_counter()
    with server_process("127.0.0.1:0", *flags):
        return time.perf_counter() - began_s
