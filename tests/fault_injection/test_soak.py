"""A server under long load neither grows nor slows down."""

import statistics

import pytest

from tests.fault_injection.extent import IS_LONG, seconds
from tests.fault_injection.loads import measure
from tests.fault_injection.server_process import ServerProcess, resident_over_time

pytestmark = pytest.mark.faults

# Ten networks over some hundred words: after a while all states are computed, and nothing new is stored.
LOAD = ("--words", "1-64", "--hidden-size", "choice:16,256", "--seed", "0-4", "--pool", "2000")


def test_at_four_fifths_of_its_capacity_a_server_neither_grows_nor_slows(report):
    duration_s = seconds(20 if IS_LONG else 1)
    with ServerProcess() as server:
        capacity = measure(server.address, *LOAD, "--concurrency", "8", duration_s=seconds(0.5))
        at_80_percent = ("--arrivals", "poisson", "--rate", f"{0.8 * capacity.answered_per_s:.0f}")
        with resident_over_time(server, every_s=duration_s / 100) as samples:
            measured = measure(server.address, *LOAD, *at_80_percent, duration_s=duration_s)
        said = server.logged()
    tenth = len(samples) // 10
    growth = statistics.median(samples[-tenth:]) / statistics.median(samples[tenth : 2 * tenth])
    p99 = measured.p99_by_interval_s
    quarter = max(1, len(p99) // 4)
    slowing = statistics.median(p99[-quarter:]) / statistics.median(p99[:quarter])
    report(
        seconds=duration_s,
        answered_per_s=measured.answered_per_s,
        resident_mib=samples[-1],
        resident_growth=growth,
        p99_ms=statistics.median(p99) * 1e3,
        p99_of_last_quarter_by_first=slowing,
    )
    assert not measured.errors, said[-2_000:]
    if IS_LONG:
        assert growth <= 1.02
        assert slowing <= 1.5
