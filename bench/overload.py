"""Measures the goodput at three times the capacity, as the fault tests do.

Requests of L with new states arrive at random times, with a deadline of 2.5 times the usual p99. The load
tester shares the machine with the server.
"""

import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

from rich.table import Table
from servers import server_process
from test_modules import import_test_module
from workloads import Workload, dictionary


def tables(_workloads: Sequence[Workload], *, budget_s: float) -> Iterator[Table]:
    """Yields one table."""
    loads = import_test_module("fault_injection.loads")
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as words:
        words.write("\n".join(dictionary()[0]))
        words.flush()
        with server_process("127.0.0.1:0", "--state-memory-mb", "64") as target:

            def answered(*options: str) -> Any:
                return loads.measure(
                    target, *loads.L, "--file", words.name, *options, duration_s=2.5 * budget_s
                )

            def offered(rate_per_s: float, *options: str) -> Any:
                return answered("--arrivals", "poisson", "--rate", f"{rate_per_s:.1f}", *options)

            before = answered("--concurrency", "8")
            calm = offered(0.7 * before.answered_per_s)
            deadline_s = 2.5 * calm.p99_s
            flooded = offered(3 * before.answered_per_s, "--timeout-s", f"{deadline_s:.3f}")
            after = answered("--concurrency", "8")
    # Shared machines change their speed within minutes, so the capacity is measured twice.
    capacity_per_s = (before.answered_per_s + after.answered_per_s) / 2
    columns = ("capacity, requests/s", "offered/s", "answered in time/s", "goodput", "deadline, ms")
    table = Table(*columns, title="L at three times the capacity")
    table.add_row(
        f"{capacity_per_s:.1f}",
        f"{3 * before.answered_per_s:.1f}",
        f"{flooded.answered_per_s:.1f}",
        f"{flooded.answered_per_s / capacity_per_s:.2f}",
        f"{deadline_s * 1e3:.0f}",
    )
    table.caption = f"errors: {flooded.errors}"
    yield table
