"""The networks in memory, within one budget of bytes.

A file of its own because forgetting is one decision: whole networks leave, least recently used first; there
is no bookkeeping by row.
"""

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping

import torch

from unrolled_server.engine.network import Network, base_nbytes
from unrolled_server.engine.proof import Proof
from unrolled_server.engine.recurrence import draw_recurrence
from unrolled_server.engine.spec import NetworkSpec
from unrolled_server.engine.starts import Starts
from unrolled_server.engine.vector_rows import WordVectors


class NetworkCache:
    """Networks by spec. Not thread-safe, but `peek` may be called from another thread.

    Args:
        budget_bytes: For weights, trees, states and remembered words of all networks. One network that needs
            more for a single word gets it while it is the only one.
        proof: Gives the steppers.
        device: Where networks live.
        vectors: Those that specs may name, by digest.
    """

    def __init__(
        self,
        *,
        budget_bytes: int,
        proof: Proof,
        device: torch.device,
        vectors: Mapping[str, WordVectors] | None = None,
    ) -> None:
        self._vectors = vectors or {}
        self._budget_bytes = budget_bytes
        self._proof = proof
        self._device = device
        self._networks: OrderedDict[NetworkSpec, Network] = OrderedDict()
        self.held_bytes = 0

    def __len__(self) -> int:
        return len(self._networks)

    def peek(self, spec: NetworkSpec) -> Network | None:
        """Gives a network if it is in memory; doesn't count as use."""
        return self._networks.get(spec)

    def use(self, spec: NetworkSpec) -> Network:
        """Gives a network, drawn if it isn't in memory, and counts as use."""
        network = self._networks.get(spec)
        if network is None:
            self._make_room(base_nbytes(spec), keep=None)
            vectors = self._vectors[spec.vectors] if spec.vectors else None
            made = draw_recurrence(spec, vectors=vectors, proof=self._proof, device=self._device)
            network = self._networks[spec] = Network(spec, made)
            self.measure(network)
        else:
            self._networks.move_to_end(spec)
        return network

    @contextlib.contextmanager
    def guest(self, network: Network, starts: Starts) -> Iterator[Network]:
        """Gives a network of the same weights whose words start at given states, for one request.

        The budget counts its weights once more while it is there, as they may outlive the network.
        """
        guest = network.started_at(starts)
        self.measure(guest)
        try:
            yield guest
        finally:
            self.held_bytes -= guest.counted_nbytes

    def max_rows(self, network: Network) -> int:
        """Gives the rows that a network may have when it is alone in memory."""
        return max(0, self._budget_bytes - network.base_nbytes) // network.row_nbytes

    def room_maker(self, network: Network) -> Callable[[int], None]:
        """Gives a function that frees bytes for this network by dropping others."""
        return lambda nbytes: self._make_room(nbytes, keep=network)

    def measure(self, network: Network) -> None:
        """Takes note of a network's present size, and drops others while the budget is exceeded."""
        size = network.nbytes
        self.held_bytes += size - network.counted_nbytes
        network.counted_nbytes = size
        self._make_room(0, keep=network)

    def forget(self, spec: NetworkSpec) -> None:
        """Drops a network."""
        network = self._networks.pop(spec, None)
        if network is not None:
            self.held_bytes -= network.counted_nbytes

    def _make_room(self, nbytes: int, *, keep: Network | None) -> None:
        """Drops networks, least recently used first, until ``nbytes`` more fit or only ``keep`` is left."""
        while self.held_bytes + nbytes > self._budget_bytes:
            oldest = next((spec for spec, network in self._networks.items() if network is not keep), None)
            if oldest is None:
                return
            self.forget(oldest)
