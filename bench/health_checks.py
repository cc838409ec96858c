"""Measures the latency of health checks during heavy work.

Four callers in a separate process call X without pause; meanwhile health checks are sent at fixed times,
whether or not earlier ones were answered. Latency counts from when a check was due.
"""

import asyncio
import math
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import grpc.aio
import numpy as np
from client_calls import ask
from grpc_health.v1 import health_pb2, health_pb2_grpc
from rich.table import Table
from servers import server_process
from unrolled_client import Client
from workloads import Workload, workloads

CALLERS = 4
CHECKS_PER_S = 50
WARM_UP_S = 5.0


async def check_regularly(address: str, *, duration_s: float) -> list[float]:
    """Returns the seconds from when each check was due to its answer."""
    taken: list[float] = []
    async with grpc.aio.insecure_channel(address) as channel, asyncio.TaskGroup() as tasks:
        check = health_pb2_grpc.HealthStub(channel).Check
        await check(health_pb2.HealthCheckRequest())

        async def timed(due_s: float) -> None:
            await check(health_pb2.HealthCheckRequest())
            taken.append(time.perf_counter() - due_s)

        begin = time.perf_counter()
        for number in range(int(duration_s * CHECKS_PER_S)):
            due_s = begin + number / CHECKS_PER_S
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
            tasks.create_task(timed(due_s))
    return taken


def tables(workloads: Sequence[Workload], *, budget_s: float) -> Iterator[Table]:
    """Yields one table, if X is a workload: an idle server, and one that computes X."""
    duration_s = 5 * budget_s
    if not any(workload.name == "X" for workload in workloads):
        return
    table = Table("", "p50, ms", "p99, ms", "longest, ms", title="health checks, from when they were due")
    with server_process("127.0.0.1:0") as address:
        _add_row(table, "idle", address, duration_s=duration_s)
        command = [sys.executable, __file__, address, str(WARM_UP_S + duration_s)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as callers:
            time.sleep(WARM_UP_S)
            _add_row(table, f"with {CALLERS} callers of X", address, duration_s=duration_s)
            count, _ = callers.communicate()
    table.caption = f"{count.strip()} requests of X were answered meanwhile"
    yield table


def _add_row(table: Table, name: str, address: str, *, duration_s: float) -> None:
    taken = asyncio.run(check_regularly(address, duration_s=duration_s))
    shown = [*np.percentile(taken, [50, 99]), max(taken)]
    table.add_row(name, *(f"{seconds * 1e3:.1f}" for seconds in shown))


def _call_without_pause(address: str, duration_s: float) -> None:
    """Calls X on every thread until the time is over; prints the number of calls."""
    workload, end_s = workloads()["X"], time.perf_counter() + duration_s

    def call(_caller: int) -> int:
        with Client(address, timeout_s=math.inf) as client:
            count = 0
            while time.perf_counter() < end_s:
                ask(client, workload)
                count += 1
            return count

    with ThreadPoolExecutor(CALLERS) as pool:
        print(sum(pool.map(call, range(CALLERS))))


if __name__ == "__main__":
    _call_without_pause(sys.argv[1], float(sys.argv[2]))
