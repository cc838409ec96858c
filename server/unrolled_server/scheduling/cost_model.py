"""Estimates how long jobs take, from a measurement at startup and from the jobs computed since."""

import threading
from collections import OrderedDict
from dataclasses import dataclass

from unrolled_server.engine import Job, NetworkSpec

# Costs of any job beside its products: finding its rows, and making its reply.
JOB_S = 30e-6
BYTE_S = 1e-9
# Half-life of a network's correction, in seconds of work.
HALF_LIFE_S = 0.5
# Weight of the measured speed against a network's first jobs.
PRIOR_S = 0.01
MAX_NETWORKS = 4_096
# Half-life and prior of the slowdown factor, and its upper bound. It is never below 1: a fast job only means
# that its states were cached.
SLOWDOWN_HALF_LIFE_S = 0.25
SLOWDOWN_PRIOR_S = 0.1
MAX_SLOWDOWN = 2.0
# A small first job mostly draws and packs its network, which says nothing about larger jobs.
MIN_FIRST_S = 0.002
MAX_RATIO = 4.0


@dataclass(slots=True)
class _Ratio:
    """Seconds that jobs took, divided by the predicted seconds, with exponential forgetting."""

    predicted_s: float = PRIOR_S
    actual_s: float = PRIOR_S

    @property
    def value(self) -> float:
        return self.actual_s / self.predicted_s

    def add(self, predicted_s: float, actual_s: float, *, half_life_s: float = HALF_LIFE_S) -> None:
        if self.predicted_s > half_life_s:
            self.predicted_s /= 2
            self.actual_s /= 2
        self.predicted_s += predicted_s
        self.actual_s += actual_s


class CostModel:
    """Estimates a job's seconds from the measured speed of one compute thread. Thread-safe.

    How many prefixes are known differs between networks, so each has its own correction factor. A slowdown
    factor stands for what all networks took lately beyond what they usually take: it covers networks that are
    asked too seldom to learn of a busy machine themselves.
    """

    def __init__(self, *, multiplications_per_s: float) -> None:
        self._multiplication_s = 1 / multiplications_per_s
        self._networks: OrderedDict[NetworkSpec, _Ratio] = OrderedDict()
        self._first_jobs = _Ratio()  # over all networks: how fast this machine was with new networks lately
        self._recent = _Ratio(SLOWDOWN_PRIOR_S, SLOWDOWN_PRIOR_S)
        self._lock = threading.Lock()

    def estimate_s(self, job: Job) -> float:
        """Returns the seconds that the job will take, with its network's correction and the slowdown."""
        with self._lock:
            slowdown = min(max(1.0, self._recent.value), MAX_SLOWDOWN)
            return self.uncorrected_s(job) * min(self._usual_ratio(job) * slowdown, MAX_RATIO)

    def uncorrected_s(self, job: Job) -> float:
        """Returns the seconds that the job would take at the measured speed with no prefix known."""
        return JOB_S + job.multiplications * self._multiplication_s + job.reply_bytes * BYTE_S

    def observe(self, job: Job, *, taken_s: float) -> None:
        """Learns from a computed job."""
        predicted_s = self.uncorrected_s(job)
        with self._lock:
            ratio = self._networks.get(job.network)
            if ratio or predicted_s >= MIN_FIRST_S:
                usual_s = predicted_s * self._usual_ratio(job)
                self._recent.add(usual_s, taken_s, half_life_s=SLOWDOWN_HALF_LIFE_S)
            if ratio is None:
                ratio = self._networks[job.network] = _Ratio(PRIOR_S, PRIOR_S * self._first_jobs.value)
                if predicted_s >= MIN_FIRST_S:
                    self._first_jobs.add(predicted_s, taken_s)
            self._networks.move_to_end(job.network)
            if len(self._networks) > MAX_NETWORKS:
                self._networks.popitem(last=False)
            ratio.add(predicted_s, taken_s)

    def _usual_ratio(self, job: Job) -> float:
        return self._networks.get(job.network, self._first_jobs).value
