"""How far the event loop is behind: a queue that nobody sees, in front of every other.

A file of its own because what waits in the loop can't be counted, only timed. Where small work comes faster
than gRPC's Python takes it, this is where requests wait.
"""

import asyncio
from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

LOOK_S = 0.02
# A look that finds less lag than the one before takes this part of the difference off.
FORGET = 0.3


class Lag:
    """The loop's lag in seconds: what it was last, or more if it was more shortly before."""

    def __init__(self) -> None:
        self.lag_s = 0.0

    def note(self, late_s: float) -> None:
        """Takes a look: so late was what was due."""
        self.lag_s = max(late_s, self.lag_s + FORGET * (late_s - self.lag_s))

    async def watch(self) -> None:
        """Looks until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due_s = loop.time() + LOOK_S
            await asyncio.sleep(LOOK_S)
            self.note(loop.time() - due_s)

    def collect(self) -> Iterator[Metric]:
        """Yields the metric; may be called from any thread."""
        yield GaugeMetricFamily("unrolled_loop_lag_seconds", "How far the event loop is behind.", self.lag_s)
