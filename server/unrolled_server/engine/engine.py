"""The engine's one door: validated jobs in, arrays out."""

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Int32, Int64

from unrolled_server.engine.alphabet import Alphabet
from unrolled_server.engine.device import choose_device
from unrolled_server.engine.network import Network
from unrolled_server.engine.spec import Job, Layout, NetworkSpec

MAX_NETWORKS = 64
QUICK_WORK = 1 << 16
"""Letters times hidden size squared up to which a known network's job may run on the event loop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The hidden states of one job.

    Attributes:
        values: Float32, C-contiguous; zero past the end of a word. Valid until the next answer is taken.
        lengths: The letters of each word.
    """

    values: Float32[np.ndarray, "batch seq hidden"]
    lengths: Int32[np.ndarray, " batch"]


class Engine:
    """Runs jobs on one device. Not thread-safe: one thread at a time."""

    def __init__(self, *, device: str = "auto") -> None:
        """Chooses the device.

        Raises:
            DeviceUnavailableError: `device` names one that is not here.
        """
        self._device = choose_device(device)
        self._networks: OrderedDict[NetworkSpec, Network] = OrderedDict()
        # One thread per product: sums split over threads would change a state's last bits.
        torch.set_num_threads(1)

    @property
    def device(self) -> str:
        """Where it computes, such as "cpu" or "cuda:0"."""
        return str(self._device)

    @property
    def fingerprint(self) -> str:
        """Digest of the golden reply, in hexadecimal: engines that share it give the same bits."""
        words = Alphabet("abcd").encode(["abcd", "dcba", "b"])
        job = Job(network=NetworkSpec(input_size=4, hidden_size=33, seed=0), words=words)
        return hashlib.blake2b(self._answer(job).values.tobytes(), digest_size=8).hexdigest()

    def is_quick(self, job: Job) -> bool:
        """Whether `job` is small and its network known, so that it may run on the event loop."""
        return (
            job.network in self._networks and job.words.codes.size * job.network.hidden_size**2 <= QUICK_WORK
        )

    def run(self, jobs: Sequence[Job]) -> Iterator[Answer | Exception]:
        """One result per job, in order; a job that fails gives its exception and touches no other."""
        for job in jobs:
            try:
                yield self._answer(job)
            except Exception as error:  # noqa: BLE001 - whatever it was, it is this job's result alone
                yield error

    def _answer(self, job: Job) -> Answer:
        codes = _padded(job)
        network = self._network(job.network)
        if job.layout is Layout.SEQ_FIRST:
            states = network.forward(codes.T).transpose(0, 1)  # (seq, batch, hidden) -> (batch, seq, hidden)
        else:
            states = network.forward(codes)
        values = states.cpu().contiguous().numpy()
        values[~_is_letter(job)] = 0.0
        return Answer(values=values, lengths=job.words.lengths)

    def _network(self, spec: NetworkSpec) -> Network:
        network = self._networks.pop(spec, None) or Network(spec, self._device)
        self._networks[spec] = network
        if len(self._networks) > MAX_NETWORKS:
            self._networks.popitem(last=False)
        return network


def _is_letter(job: Job) -> np.ndarray:
    """(batch, seq): true where a word has a letter, false where it is padded."""
    lengths = job.words.lengths
    return np.arange(lengths.max()) < lengths[:, None]


def _padded(job: Job) -> Int64[torch.Tensor, "batch seq"]:
    is_letter = _is_letter(job)
    codes = np.zeros(is_letter.shape, dtype=np.int64)
    codes[is_letter] = job.words.codes
    return torch.from_numpy(codes)
