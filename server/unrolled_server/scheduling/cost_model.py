"""How long work takes: measured when the server starts, corrected by what is seen while it runs.

A file of its own because what may come in, and what is told to come back later, hang on this one guess. The
multiplications of a job are counted as if nothing of it were known; how much is known differs from network to
network, so each has a correction of its own. Beside them stands the machine's pace: what all networks took
lately, beyond what they usually take. A machine that other work slows down is slower for all of them at once,
and most are asked too seldom to learn of it by themselves. Those that are asked often do learn, within a
second of their work, and from then on the slowness is usual: the pace tells what is new.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass

from unrolled_server.engine import Job, NetworkSpec

# Of any job, beside its products: finding its rows, and making its reply.
JOB_S = 30e-6
BYTE_S = 1e-9
# A correction forgets: what was seen counts half once this much work has been seen after it.
MEMORY_S = 0.5
# A network's first correction counts for little against this much work at the measured speed.
PRIOR_S = 0.01
MAX_NETWORKS = 4_096
# The same of the pace, which changes within tenths of a second; and how far it may reach. Never below 1: jobs
# that take less than usual have found their states known, which says nothing of others.
PACE_MEMORY_S = 0.25
PACE_PRIOR_S = 0.1
MAX_PACE = 2.0
# A small first job is mostly its network's drawing and proof, which say nothing of larger ones.
MIN_FIRST_S = 0.002
MAX_RATIO = 4.0


@dataclass(slots=True)
class _Seen:
    """Seconds that work was thought to take, and took."""

    thought_s: float = PRIOR_S
    taken_s: float = PRIOR_S

    @property
    def ratio(self) -> float:
        return self.taken_s / self.thought_s

    def add(self, thought_s: float, taken_s: float, *, memory_s: float = MEMORY_S) -> None:
        if self.thought_s > memory_s:
            self.thought_s /= 2
            self.taken_s /= 2
        self.thought_s += thought_s
        self.taken_s += taken_s


class CostModel:
    """Guesses a job's seconds. May be used from several threads.

    Args:
        multiplications_per_s: What one compute thread does, measured.
    """

    def __init__(self, *, multiplications_per_s: float) -> None:
        self._multiplication_s = 1 / multiplications_per_s
        self._seen: OrderedDict[NetworkSpec, _Seen] = OrderedDict()
        self._first = _Seen()  # of each network its first job: how fast this machine is with new work lately
        self._lately = _Seen(PACE_PRIOR_S, PACE_PRIOR_S)
        self._lock = threading.Lock()

    def guess_s(self, job: Job) -> float:
        """Seconds that the job will take if its network goes on as it did, at the machine's pace."""
        with self._lock:
            pace = min(max(1.0, self._lately.ratio), MAX_PACE)
            return self.uncorrected_s(job) * min(self._usual_ratio(job) * pace, MAX_RATIO)

    def uncorrected_s(self, job: Job) -> float:
        """Seconds that the job would take if nothing of it were known, on the machine as it was measured."""
        return JOB_S + job.multiplications * self._multiplication_s + job.reply_bytes * BYTE_S

    def observe(self, job: Job, *, taken_s: float) -> None:
        """Learns from a job that was computed."""
        thought_s = self.uncorrected_s(job)
        with self._lock:
            seen = self._seen.get(job.network)
            if seen or thought_s >= MIN_FIRST_S:
                self._lately.add(thought_s * self._usual_ratio(job), taken_s, memory_s=PACE_MEMORY_S)
            if seen is None:
                seen = self._seen[job.network] = _Seen(PRIOR_S, PRIOR_S * self._first.ratio)
                if thought_s >= MIN_FIRST_S:
                    self._first.add(thought_s, taken_s)
            self._seen.move_to_end(job.network)
            if len(self._seen) > MAX_NETWORKS:
                self._seen.popitem(last=False)
            seen.add(thought_s, taken_s)

    def _usual_ratio(self, job: Job) -> float:
        return self._seen.get(job.network, self._first).ratio
