"""Metrics of a process and of the workers of a server."""

import resource
import time
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

_STATM = Path("/proc/self/statm")
_PAGE_BYTES = resource.getpagesize()


def collect_process(started_s: float) -> Iterator[Metric]:
    """Yields the metrics of this process, which started at `started_s` since 1970."""
    yield CounterMetricFamily(
        "unrolled_process_cpu_seconds_total", "Processor time, user and system.", time.process_time()
    )
    if _STATM.exists():  # only on Linux
        resident_pages = int(_STATM.read_bytes().split()[1])
        yield GaugeMetricFamily(
            "unrolled_process_resident_memory_bytes", "Resident memory.", resident_pages * _PAGE_BYTES
        )
    yield GaugeMetricFamily(
        "unrolled_process_start_time_seconds", "When the youngest process began, since 1970.", started_s
    )


def collect_workers(worker_count: int, *, restart_count: int) -> Iterator[Metric]:
    """Yields what only a supervisor knows, and 0 ready workers, to which each ready worker adds itself."""
    yield GaugeMetricFamily("unrolled_workers", "Processes that should serve.", worker_count)
    yield ready_workers(0)
    yield CounterMetricFamily(
        "unrolled_worker_restarts_total", "Workers that died and were replaced.", restart_count
    )


def ready_workers(count: int) -> Metric:
    """Returns the number of workers that serve."""
    return GaugeMetricFamily("unrolled_ready_workers", "Processes that serve.", count)
