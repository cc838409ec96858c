"""Compares the SDK's call to a separate server process with local torch, and measures its memory.

"First time" means that the server has the network but none of the words.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from baselines import torch_call
from paired_timing import Timing, Way, measure
from rich.table import Table
from servers import server_process
from unrolled_client import Client
from workloads import Workload, workloads

MIB = 1 << 20


def ask(client: Client, workload: Workload) -> object:
    """Calls the server as a user would."""
    return client.forward(
        workload.words, hidden_size=workload.hidden_size, seed=workload.seed, alphabet=workload.alphabet
    )


class ClientWays:
    """Runs a workload over a connection, with computed and with new states."""

    def __init__(self, client: Client, workload: Workload) -> None:
        self._client = client
        self._workload = workload
        self._seed = workload.seed
        self._fresh: list[Workload] = []
        self.known = Way(call=lambda: ask(client, workload))
        self.first = Way(call=lambda: ask(client, self._fresh.pop()), prepare=self._meet_networks)

    def _meet_networks(self, count: int) -> None:
        for _ in range(count):
            self._seed += 1
            self._fresh.append(replace(self._workload, seed=self._seed))
            ask(self._client, replace(self._fresh[-1], words=["e"]))


def timings(client: Client, workload: Workload, *, budget_s: float) -> dict[str, Timing]:
    """Measures local torch and both ways, in turn."""
    ways = ClientWays(client, workload)
    sides = {"torch": Way(call=torch_call(workload)), "known": ways.known, "first": ways.first}
    return measure(sides, budget_s=budget_s)


def speed(workloads: Sequence[Workload], *, budget_s: float) -> Iterator[Table]:
    """Yields one table for each transport."""
    with tempfile.TemporaryDirectory(prefix="unrolled-") as folder:
        for transport, address in (("TCP", "127.0.0.1:0"), ("a Unix socket", f"unix:{folder}/s")):
            columns = (
                "workload",
                "torch, ms",
                "known, ms",
                "first time, ms",
                "torch / known",
                "torch / first",
            )
            table = Table(*columns, title=f"SDK's call over {transport}")
            with server_process(address) as target, Client(target) as client:
                for workload in workloads:
                    taken = timings(client, workload, budget_s=budget_s)
                    torch, known, first = (taken[name] for name in ("torch", "known", "first"))
                    table.add_row(
                        workload.title,
                        *(f"{timing.ms:.2f}" for timing in (torch, known, first)),
                        *(f"{ours.times_as_fast_as(torch):.2f}" for ours in (known, first)),
                    )
            yield table


def memory(workload: Workload) -> Table:
    """Measures peak resident memory above idle of a fresh client and of its server."""
    with Client.local(device="cpu") as client:
        server = client._local_server.pid  # noqa: SLF001 - its memory is measured
        idle = _peak_bytes(server)
        command = [sys.executable, __file__, client._target, workload.name]  # noqa: SLF001
        shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        used = _peak_bytes(server) - idle
    result, above = map(int, shown.split())
    table = Table("", "MiB", title=f"peak memory above idle, {workload.title}")
    for name, size in (("result", result), ("client, without its result", above), ("server", used)):
        table.add_row(name, f"{size / MIB:.0f}")
    return table


def tables(workloads: Sequence[Workload], *, budget_s: float) -> Iterator[Table]:
    """Yields the tables of speed and memory."""
    yield from speed(workloads, budget_s=budget_s)
    for workload in workloads:
        if workload.name == "X":
            yield memory(workload)


def _peak_bytes(pid: int | str) -> int:
    """Returns the peak resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) << 10


def _measured_client(target: str, name: str) -> None:
    """Prints the bytes of the result and the call's peak memory without it; runs in a fresh process."""
    workload = next(workload for workload in workloads() if workload.name == name)
    with Client(target) as client:
        ask(client, replace(workload, words=["e"]))
        idle = _peak_bytes("self")
        result = client.forward(workload.words, hidden_size=workload.hidden_size, alphabet=workload.alphabet)
        print(result.outputs.nbytes, _peak_bytes("self") - idle - result.outputs.nbytes)


if __name__ == "__main__":
    _measured_client(*sys.argv[1:])
