"""Compares the SDK's call, over TCP and in process, with local torch.

"First" means that the server has the network but none of the words.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

from baselines import network_of, torch_call
from engine import row_of
from paired_timing import Way, measure
from rich.table import Table
from servers import server_process
from unrolled_client import Client
from workloads import Workload

SEEDS = itertools.count(1)  # of new networks, which no other workload may have met


def ask(client: Client, workload: Workload) -> object:
    """Calls the server as a user would."""
    return client.forward(
        workload.words, hidden_size=workload.hidden_size, seed=workload.seed, alphabet=workload.alphabet
    )


def ways_of(client: Client, workload: Workload) -> dict[str, Way]:
    """Returns calls with new and with computed states."""
    fresh: list[Workload] = []

    def meet_networks(count: int) -> None:
        fresh[:] = [replace(workload, seed=next(SEEDS)) for _ in range(count)]
        for each in fresh:
            ask(client, replace(each, words=["e"]))

    return {
        "first": Way(call=lambda: ask(client, fresh.pop()), prepare=meet_networks),
        "known": Way(call=lambda: ask(client, workload)),
    }


def tables(workloads: Sequence[Workload], *, budget_s: float) -> Iterator[Table]:
    """Yields one table for each kind of client; sentences would only repeat what X says."""
    with server_process("127.0.0.1:0") as target:
        clients = {"over TCP": Client(target), "in process": Client.local(device="cpu", compute_threads=1)}
        for kind, client in clients.items():
            times = ("torch, ms", "first, ms", "known, ms")
            table = Table("", *times, "torch / first", "/ known", title=f"the SDK's call {kind}")
            with client:
                for workload in workloads:
                    if workload.name != "sentences":
                        rival = Way(call=torch_call(network_of(workload), workload))
                        taken = measure({"torch": rival, **ways_of(client, workload)}, budget_s=budget_s)
                        table.add_row(workload.name, *row_of(taken))
            yield table
