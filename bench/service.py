"""Compares our server, with default flags, with a plain server, on words that are new in every request.

Both get prepared bytes from one asynchronous process, over a connection for each caller; an echo of our reply
shows what callers and transport allow.
"""

import asyncio
import random
import time
from collections.abc import Iterator, Sequence

import grpc
import numpy as np
from echo import CHANNEL_OPTIONS, ask_unary, channels_to, reply_of
from paired_timing import Way, measure
from rich.table import Table
from servers import plain_server, server_process
from unrolled_client.low_level import FORWARD
from unrolled_loadtest.echo_server import echo_server
from workloads import Workload

CALLERS = 8
REQUESTS = {"M": 64, "L": 24}  # of a round, about a second
LATENCY_BUDGETS = 15  # 60 s by default


def tables(workloads: Sequence[Workload], *, budget_s: float) -> Iterator[Table]:
    """Yields a table of rates with eight callers, and one of our latencies with one caller, for M and L."""
    duration_s = LATENCY_BUDGETS * budget_s
    columns = ("echo", "plain server", "ours", "ours / plain", "ours / echo")
    rates = Table("requests/s", *columns, title=f"never-seen words, {CALLERS} callers")
    title = f"never-seen words, one caller for {duration_s:g} s"
    latencies = Table("", "p50, ms", "p99, ms", "p99 / p50", "requests", title=title)
    for workload in workloads:
        if workload.name in REQUESTS:
            rates.add_row(workload.name, *_rates(workload, budget_s=budget_s))
            latencies.add_row(workload.name, *_latencies(workload, duration_s=duration_s))
    yield rates
    yield latencies


def _rates(workload: Workload, *, budget_s: float) -> list[str]:
    draw, request_count = random.Random(1), REQUESTS[workload.name]

    def way(side: str) -> Way:
        batches: list[Sequence[bytes]] = []

        def prepare(count: int) -> None:
            requests = (workload.with_random_letters(draw).request for _ in range(count * request_count))
            batches[:] = zip(*[requests] * request_count, strict=True)

        async def ask() -> None:
            left = iter(batches.pop())
            callers = (channels[f"{side}-{caller}"] for caller in range(CALLERS))
            await asyncio.gather(*(ask_unary(channel, left, concurrency=1) for channel in callers))

        return Way(call=lambda: runner.run(ask()), prepare=prepare)

    with (
        server_process("127.0.0.1:0") as ours,
        plain_server() as plain,
        echo_server(reply_of(ours, workload)) as echo,
    ):
        sides = {"echo": echo, "plain": plain, "ours": ours}
        targets = {f"{side}-{caller}": sides[side] for side in sides for caller in range(CALLERS)}
        with channels_to(**targets) as (runner, channels):
            taken = measure({side: way(side) for side in sides}, budget_s=budget_s)
    rates = (f"{request_count / timing.ms * 1e3:,.1f}" for timing in taken.values())
    return [*rates, *(f"{taken['ours'].times_as_fast_as(taken[rival]):.2f}" for rival in ("plain", "echo"))]


def _latencies(workload: Workload, *, duration_s: float) -> list[str]:
    draw, taken = random.Random(2), []
    with (
        server_process("127.0.0.1:0") as ours,
        grpc.insecure_channel(ours, options=CHANNEL_OPTIONS) as channel,
    ):
        call = channel.unary_unary(FORWARD)
        call(workload.request)
        end_s = time.perf_counter() + duration_s
        while time.perf_counter() < end_s:
            request = workload.with_random_letters(draw).request
            began_s = time.perf_counter()
            call(request)
            taken.append(time.perf_counter() - began_s)
    p50, p99 = np.percentile(taken, [50, 99]) * 1e3
    return [f"{p50:.2f}", f"{p99:.2f}", f"{p99 / p50:.2f}", f"{len(taken):,}"]
