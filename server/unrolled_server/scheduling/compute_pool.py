"""Spreads jobs over compute threads."""

import asyncio
from collections.abc import Iterator, Sequence

from prometheus_client import Metric

from unrolled_server.engine import Engine, Job
from unrolled_server.scheduling.compute_thread import ComputeThread, ReplyEncoder
from unrolled_server.scheduling.cost_model import CostModel


class ComputePool:
    """One compute thread for each engine. Used from one event loop.

    A network belongs to one thread, so its prefixes are known in one place and no product is ever split.
    """

    def __init__(self, engines: Sequence[Engine], cost_model: CostModel, encoder: ReplyEncoder) -> None:
        self._threads = [
            ComputeThread(engine, cost_model, encoder, name=f"compute-{index}")
            for index, engine in enumerate(engines)
        ]

    def thread_for(self, job: Job) -> ComputeThread:
        """Returns the thread that computes the job's network."""
        return self._threads[hash(job.network) % len(self._threads)]

    def min_wait_s(self, client: str) -> float:
        """Returns how long the client's smallest job would wait, whatever its network."""
        return min([thread.min_wait_s(client) for thread in self._threads])

    def collect(self) -> Iterator[Metric]:
        """Yields the metrics of each compute thread; may be called from any thread."""
        for thread in self._threads:
            yield from thread.counters.collect()

    async def close(self) -> None:
        """Ends the threads once everything that waits is computed."""
        for thread in self._threads:
            thread.close()
        for thread in self._threads:
            await asyncio.to_thread(thread.join)
