"""Compares small requests through Ray Serve with requests to a plain server.

One replica on one node against one server; both make every reply from computed states. Client, proxy, replica
and server share the machine, so on few cores all of them together limit Serve's rate; the table also shows
the CPU time of a request in each process.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import psutil
from echo import ASKS, CONCURRENCIES, REQUESTS, Ask, Channels, channels_to
from paired_timing import Way, measure
from rich.table import Table
from servers import server_process
from test_modules import import_test_module
from workloads import Workload

CPU_ROUNDS = 4
COLUMNS = (
    "at a time",
    "plain, req/s",
    "Serve, req/s",
    "Serve / plain",
    "CPU ms: plain",
    "proxy + replica + rest of Ray",
    "proxy's share",
)


def tables(workloads: Sequence[Workload], *, budget_s: float) -> Iterator[Table]:
    """Yields one table for each of S and M."""
    chosen = [workload for workload in workloads if workload.name in ("S", "M")]
    if not chosen:
        return
    with (
        import_test_module("ray.serving").served_cluster(
            replicas=1, settings={"reply_memory_mb": 0}
        ) as cluster,
        server_process("127.0.0.1:0", "--reply-memory-mb", "0") as plain,
        channels_to(plain=plain, serve=cluster.address) as (runner, channels),
    ):
        for workload in chosen:
            yield _compare(runner, channels, cluster, workload=workload, budget_s=budget_s)


def _compare(
    runner: asyncio.Runner,
    channels: Channels,
    cluster: Any,
    *,
    workload: Workload,
    budget_s: float,
) -> Table:
    table = Table("", *COLUMNS, title=f"Ray Serve, {workload.title}")
    requests = [workload.request] * REQUESTS
    for name, ask in ASKS.items():
        for concurrency in CONCURRENCIES:

            def call(side: str, ask: Ask = ask, concurrency: int = concurrency) -> object:
                return runner.run(ask(channels[side], requests, concurrency=concurrency))

            ways = {side: Way(call=lambda side=side, call=call: call(side)) for side in channels}
            taken = measure(ways, budget_s=budget_s)
            rates = [f"{REQUESTS / taken[side].ms * 1e3:,.0f}" for side in ("plain", "serve")]
            ratio = f"{taken['serve'].times_as_fast_as(taken['plain']):.2f}"
            table.add_row(name, str(concurrency), *rates, ratio, *_costs(call, cluster))
    return table


def _costs(call: Callable[[str], object], cluster: Any) -> list[str]:
    """Returns CPU milliseconds per request: the plain server's, Serve's by process, and the proxy's share."""
    replicas, proxies, everything = cluster.replicas, cluster.proxies, cluster.processes("")
    rest = [process for process in everything if process not in (*replicas, *proxies)]
    plain = [child for child in psutil.Process().children() if "unrolled_server" in child.cmdline()]
    (alone,) = _cpu_ms(lambda: call("plain"), [plain])
    served = _cpu_ms(lambda: call("serve"), [proxies, replicas, rest])
    return [f"{alone:.2f}", " + ".join(f"{cost:.2f}" for cost in served), f"{served[0] / sum(served):.0%}"]


def _cpu_ms(call: Callable[[], object], groups: Sequence[Iterable[psutil.Process]]) -> list[float]:
    before = [_cpu_s(group) for group in groups]
    for _ in range(CPU_ROUNDS):
        call()
    taken = [_cpu_s(group) - then for group, then in zip(groups, before, strict=True)]
    return [seconds * 1e3 / (CPU_ROUNDS * REQUESTS) for seconds in taken]


def _cpu_s(processes: Iterable[psutil.Process]) -> float:
    times = [process.cpu_times() for process in processes if process.is_running()]
    return sum(time.user + time.system for time in times)
