"""Clients that stop reading or vanish do not grow the memory beyond its limit or slow other clients."""

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fault_injection.extent import IS_LONG, seconds
from tests.fault_injection.loads import M, measure
from tests.fault_injection.server_process import ServerProcess, resident_over_time

pytestmark = pytest.mark.faults

ROOT = Path(__file__).parents[2]
# The server's limit on requests and replies. A reply may exist twice while gRPC sends it.
INFLIGHT_MIB = 256
BOUND_MIB = 2 * (INFLIGHT_MIB + INFLIGHT_MIB // 4)


@contextmanager
def stalled_clients(address, count):
    """Runs clients that stop reading; kills them at the end, so that they vanish at once."""
    command = [sys.executable, "-m", "tests.fault_injection.stalling", address, f"{count}"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as clients:
        try:
            assert clients.stdout.readline() == f"{count} clients stopped reading\n"
            yield clients
        finally:
            clients.kill()


def test_clients_that_stop_reading_or_vanish_take_bounded_memory_and_slow_no_other_client(report):
    count, duration_s = 200 if IS_LONG else 20, seconds(0.4)
    load = (*M, "--arrivals", "poisson", "--rate", "200")
    with ServerProcess() as server:
        address = server.address
        before = measure(address, *load, duration_s=duration_s)
        idle_mib = server.footprint().rss_mib
        with resident_over_time(server, every_s=0.02) as samples, stalled_clients(address, count) as clients:
            beside_stalled = measure(address, *load, duration_s=duration_s)
            clients.kill()
            beside_gone = measure(address, *load, duration_s=duration_s)
        after = measure(address, *load, duration_s=duration_s)
    grown_mib = max(samples) - idle_mib
    ratios = [run.p99_s / before.p99_s for run in (beside_stalled, beside_gone, after)]
    report(
        clients=count,
        resident_grown_mib=grown_mib,
        bound_mib=BOUND_MIB,
        p99_ms=before.p99_s * 1e3,
        p99_ratio_beside_stalled=ratios[0],
        p99_ratio_as_they_vanish=ratios[1],
        p99_ratio_after=ratios[2],
        errors=sum(sum(run.errors.values()) for run in (beside_stalled, beside_gone, after)),
    )
    assert grown_mib <= BOUND_MIB
    assert not after.errors
    if IS_LONG:
        assert max(ratios) <= 1.5
        assert sum(beside_stalled.errors.values()) <= 0.01 * beside_stalled.sent_count
