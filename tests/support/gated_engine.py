"""An engine that tests can block, to check what happens to waiting requests."""

import threading

from unrolled_server.engine import Engine, NotWantedError

BROKEN_SEED = 666


class GatedEngine(Engine):
    """A real engine that waits for an event, fails on one seed, and records which thread ran which seeds."""

    def __init__(self):
        super().__init__(device="cpu")
        self.open = threading.Event()
        self.entered = threading.Event()
        self.runs = []

    def run(self, jobs, *, is_wanted=lambda _: True, stops=()):
        self.entered.set()
        assert self.open.wait(120)
        ran = []
        self.runs.append((threading.current_thread().name, ran))
        for at, job in enumerate(jobs):
            if not is_wanted(at):
                yield NotWantedError()
                continue
            ran.append(job.network.seed)
            yield self._compute(job, stops[at] if stops else None)

    def run_one(self, job, stop=None):
        self.runs.append((threading.current_thread().name, [job.network.seed]))
        return self._compute(job, stop)

    def _compute(self, job, stop):
        return RuntimeError("broken") if job.network.seed == BROKEN_SEED else super().run_one(job, stop)

    @property
    def seeds(self):
        """Returns the seeds that it ran, in order."""
        return [seed for _, ran in self.runs for seed in ran]
