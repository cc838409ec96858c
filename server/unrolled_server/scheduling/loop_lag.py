"""Measures event-loop lag, which delays every request before it reaches a queue."""

import asyncio
import threading
import time
from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

INTERVAL_S = 0.02
# A measurement below the current lag takes this part of the difference off.
DECAY = 0.3
# Below this the loop counts as prompt: one large write takes as long.
MIN_LAG_S = 0.005


class EventLoopLag:
    """The lag in seconds: the latest measurement, or more if the lag was higher shortly before."""

    def __init__(self) -> None:
        self.lag_s = 0.0
        self._cpu_clock: int | None = None

    @property
    def significant_s(self) -> float:
        """The lag; 0 where it is as short as one large write."""
        return self.lag_s if self.lag_s > MIN_LAG_S else 0.0

    def record(self, late_s: float) -> None:
        """Records how late a timer fired."""
        self.lag_s = max(late_s, self.lag_s + DECAY * (late_s - self.lag_s))

    async def watch(self) -> None:
        """Measures until it is cancelled."""
        loop = asyncio.get_running_loop()
        if hasattr(time, "pthread_getcpuclockid"):  # not on macOS
            self._cpu_clock = time.pthread_getcpuclockid(threading.get_ident())
        while True:
            due_s = loop.time() + INTERVAL_S
            await asyncio.sleep(INTERVAL_S)
            self.record(loop.time() - due_s)

    def collect(self) -> Iterator[Metric]:
        """Yields the metrics; may be called from any thread while the loop's lives."""
        yield GaugeMetricFamily("unrolled_loop_lag_seconds", "How far the event loop is behind.", self.lag_s)
        if self._cpu_clock is not None:
            yield CounterMetricFamily(
                "unrolled_loop_cpu_seconds_total",
                "Processor time of event loops, one for each worker.",
                time.clock_gettime(self._cpu_clock),
            )
