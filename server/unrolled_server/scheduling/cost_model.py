"""Estimates how long jobs take, from a measurement at startup and from the jobs computed since."""

from collections import OrderedDict
from typing import NamedTuple

from unrolled_server.engine import Job, NetworkSpec

# Costs of a job beside its multiplications, measured with known states: of the job, of finding the row of a
# symbol, and of writing and encoding a byte of the reply.
JOB_S = 20e-6
SYMBOL_S = 60e-9
BYTE_S = 0.3e-9
# Half-life of a network's correction, and weight of no correction, in seconds of work.
HALF_LIFE_S = 0.5
PRIOR_S = 0.01
MAX_NETWORKS = 4_096


class _Observed(NamedTuple):
    predicted_s: float
    taken_s: float


_NOTHING = _Observed(PRIOR_S, PRIOR_S)


class CostModel:
    """Estimates a job's seconds from the measured speed of the engine. One thread observes, all may read.

    The formula is for new states. How many states are known differs between networks, so each network has a
    correction.
    """

    def __init__(self, *, multiplications_per_s: float) -> None:
        self._multiplication_s = 1 / multiplications_per_s
        self._observed: OrderedDict[NetworkSpec, _Observed] = OrderedDict()

    def predict_s(self, job: Job, multiplications: int) -> float:
        """Returns the job's seconds if it takes so many multiplications."""
        return (
            JOB_S
            + multiplications * self._multiplication_s
            + job.words.letter_count * SYMBOL_S
            + job.reply_bytes * BYTE_S
        )

    def correction(self, network: NetworkSpec) -> float:
        """Returns how many times as long as predicted jobs of this network took; 1 for a new one."""
        predicted_s, taken_s = self._observed.get(network, _NOTHING)
        return taken_s / predicted_s

    def observe(self, network: NetworkSpec, *, predicted_s: float, taken_s: float) -> None:
        """Learns from a computed job."""
        before = self._observed.get(network, _NOTHING)
        if before.predicted_s > HALF_LIFE_S:
            before = _Observed(before.predicted_s / 2, before.taken_s / 2)
        self._observed[network] = _Observed(before.predicted_s + predicted_s, before.taken_s + taken_s)
        self._observed.move_to_end(network)
        if len(self._observed) > MAX_NETWORKS:
            self._observed.popitem(last=False)
