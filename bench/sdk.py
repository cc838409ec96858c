"""The SDK's call, with the server in a process of its own on this machine, against local torch."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pairs import Way, measure
from rich.table import Table
from rivals import torch_call
from unrolled_client import Client
from workloads import Workload


@contextmanager
def server_process(address: str, *more_flags: str) -> Iterator[str]:
    """A server in a process of its own; gives the address that it tells in its ready line."""
    flags = ["--address", address, "--device", "cpu", "--log-level", "warning", *more_flags]
    command = [sys.executable, "-m", "unrolled_server", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        ready = server.stdout.readline() if server.stdout else ""
        try:
            yield ready.removeprefix("unrolled-server ready on ").split(" | ")[0]
        finally:
            server.terminate()


def ask(client: Client, workload: Workload) -> object:
    """The workload as a user would ask for it."""
    return client.forward(
        workload.words, hidden_size=workload.hidden_size, seed=workload.seed, alphabet=workload.alphabet
    )


def tables(workloads: Sequence[Workload], *, budget_s: float) -> Iterator[Table]:
    """One table a transport."""
    with tempfile.TemporaryDirectory(prefix="unrolled-") as folder:
        for transport, address in (("TCP", "127.0.0.1:0"), ("a Unix socket", f"unix:{folder}/s")):
            title = f"SDK's call over {transport}, known words"
            table = Table("", "torch, ms", "unrolled, ms", "times as fast", title=title)
            with server_process(address) as target, Client(target) as client:
                for workload in workloads:
                    ways = {
                        "torch": Way(call=torch_call(workload)),
                        "ours": Way(call=lambda workload=workload: ask(client, workload)),
                    }
                    taken = measure(ways, budget_s=budget_s)
                    ratio = taken["ours"].times_as_fast_as(taken["torch"])
                    table.add_row(
                        workload.name, f"{taken['torch'].ms:.3f}", f"{taken['ours'].ms:.3f}", f"{ratio:.2f}"
                    )
            yield table
