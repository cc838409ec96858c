"""Estimates how long jobs take, from a measurement at startup and from the jobs computed since."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

from unrolled_server.engine import Job, NetworkSpec

# Beside multiplying: what a job takes at all, to find a row of a symbol, to write and encode a byte of the
# reply, to sort an initial state, and for a new state in each direction of each layer.
JOB_S = 20e-6
ROW_S = 60e-9
BYTE_S = 0.3e-9
INITIAL_STATE_S = 1e-6
STEP_S = 150e-9
# The core's threads share only what takes longer than this.
MIN_SHARED_S = 2e-3
# Half-life of an observation, and weight of what was known before a network's first job, in seconds of work.
HALF_LIFE_S = 0.5
PRIOR_S = 0.01
MAX_NETWORKS = 4_096


class Work(NamedTuple):
    """A job and what it will take.

    Attributes:
        multiplications: If all its states are new, with drawing the network if that is not in memory.
        is_new_network: Whether the network is not in memory.
        predicted_s: Seconds of these multiplications.
        cost_s: Seconds by what jobs of the network took lately, some of whose states may have been known.
    """

    job: Job
    multiplications: int
    is_new_network: bool
    predicted_s: float
    cost_s: float


class _Observed(NamedTuple):
    """Predicted seconds and those that jobs took, with exponential forgetting."""

    predicted_s: float
    taken_s: float

    @property
    def factor(self) -> float:
        return self.taken_s / self.predicted_s

    def plus(self, predicted_s: float, taken_s: float) -> "_Observed":
        weight = 0.5 if self.predicted_s > HALF_LIFE_S else 1.0
        return _Observed(self.predicted_s * weight + predicted_s, self.taken_s * weight + taken_s)


class CostModel:
    """Estimates what jobs take from the measured speed of the engine. One thread observes, all may read.

    How many states are known differs between networks, so each has a factor of its own. That of networks new
    to memory says how busy this machine is; it is never below 1, because jobs that take less than predicted
    have shared their states.
    """

    def __init__(self, *, multiplications_per_s: float, speedup: float = 1.0) -> None:
        """Takes the speed of one thread, and by how much all of them together are faster."""
        self._multiplication_s = 1 / multiplications_per_s
        self._speedup = speedup
        self._networks: OrderedDict[NetworkSpec, _Observed] = OrderedDict()
        self._new_networks = _Observed(PRIOR_S, PRIOR_S)

    def estimate(self, job: Job, *, drawing: int) -> Work:
        """Returns what the job takes; `drawing` are the multiplications before it can begin."""
        multiplications = job.multiplications + drawing
        predicted_s = self._predict_s(job) + drawing * self._multiplication_s
        factor = self._before(job.network, is_new=drawing > 0).factor
        return Work(job, multiplications, drawing > 0, predicted_s, predicted_s * factor)

    def predict_known_s(self, job: Job) -> float:
        """Returns the seconds for a job whose states are all in memory, on an idle machine."""
        rows_s = job.words.letter_count * job.network.rows_per_symbol * ROW_S
        starts = 0 if job.initial_state is None else job.initial_state.h.shape[1]
        return JOB_S + rows_s + job.reply_bytes * BYTE_S + starts * INITIAL_STATE_S

    def _predict_s(self, job: Job) -> float:
        """Returns the seconds for a job whose states are all new, on an idle machine."""
        steps = job.words.letter_count * job.network.num_layers * job.network.directions
        computing_s = steps * STEP_S + job.multiplications * self._multiplication_s
        alone_s = self.predict_known_s(job) + computing_s
        return alone_s if alone_s < MIN_SHARED_S else max(MIN_SHARED_S, alone_s / self._speedup)

    def observe(self, batch: Sequence[Work], *, taken_s: float) -> None:
        """Learns from jobs that were computed together, each in the part of the time that it was to take."""
        slowdown = taken_s / sum(work.cost_s for work in batch)
        for work in batch:
            network, is_new = work.job.network, work.is_new_network
            job_s = work.cost_s * slowdown
            self._networks[network] = self._before(network, is_new=is_new).plus(work.predicted_s, job_s)
            self._networks.move_to_end(network)
            if is_new:
                self._new_networks = self._new_networks.plus(work.predicted_s, job_s)
        while len(self._networks) > MAX_NETWORKS:
            self._networks.popitem(last=False)

    def _before(self, network: NetworkSpec, *, is_new: bool) -> _Observed:
        observed = None if is_new else self._networks.get(network)
        return observed or _Observed(PRIOR_S, PRIOR_S * max(1.0, self._new_networks.factor))
