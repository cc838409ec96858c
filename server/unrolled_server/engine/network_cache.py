"""The networks in memory, within a budget of bytes; the least recently used are evicted whole."""

import contextlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping

import torch

from unrolled_server.engine.job import InitialStates
from unrolled_server.engine.network import CachedNetwork, base_nbytes
from unrolled_server.engine.proof import Proof
from unrolled_server.engine.recurrence import draw_recurrence
from unrolled_server.engine.spec import NetworkSpec
from unrolled_server.engine.vector_rows import WordVectors


class NetworkCache:
    """Networks by spec. Not thread-safe, except `peek`.

    ``budget_bytes`` are for weights, trees, states and cached words of all networks; one network that needs
    more for a single word gets it while it is the only one. Specs name ``vectors`` by digest.
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
        self._networks: OrderedDict[NetworkSpec, CachedNetwork] = OrderedDict()
        self.held_bytes = 0

    def __len__(self) -> int:
        return len(self._networks)

    def peek(self, spec: NetworkSpec) -> CachedNetwork | None:
        """Returns a network if it is in memory; does not count as use."""
        return self._networks.get(spec)

    def use(self, spec: NetworkSpec) -> CachedNetwork:
        """Returns a network, drawing it if it is not in memory, and counts as use."""
        network = self._networks.get(spec)
        if network is None:
            self.make_room(base_nbytes(spec), keep=None)
            vectors = self._vectors[spec.vectors] if spec.vectors else None
            made = draw_recurrence(spec, vectors=vectors, proof=self._proof, device=self._device)
            network = self._networks[spec] = CachedNetwork(spec, made)
            self.measure(network)
        else:
            self._networks.move_to_end(spec)
        return network

    @contextlib.contextmanager
    def temporary(self, network: CachedNetwork, starts: InitialStates) -> Iterator[CachedNetwork]:
        """Provides a network of the same weights whose words start at given states, for one request.

        The budget counts its weights once more meanwhile, as they may outlive the network.
        """
        temporary = network.starting_at(starts)
        self.measure(temporary)
        try:
            yield temporary
        finally:
            self.held_bytes -= temporary.counted_nbytes

    def max_rows(self, network: CachedNetwork) -> int:
        """Returns how many rows a network may have if it is alone in memory."""
        return max(0, self._budget_bytes - network.base_nbytes) // network.row_nbytes

    def measure(self, network: CachedNetwork) -> None:
        """Updates the count of a network's bytes, and evicts others while the budget is exceeded."""
        size = network.nbytes
        self.held_bytes += size - network.counted_nbytes
        network.counted_nbytes = size
        self.make_room(0, keep=network)

    def forget(self, spec: NetworkSpec) -> None:
        network = self._networks.pop(spec, None)
        if network is not None:
            self.held_bytes -= network.counted_nbytes

    def make_room(self, nbytes: int, *, keep: CachedNetwork | None) -> None:
        """Evicts networks until ``nbytes`` more fit or only ``keep`` is left."""
        while self.held_bytes + nbytes > self._budget_bytes:
            oldest = next((spec for spec, network in self._networks.items() if network is not keep), None)
            if oldest is None:
                return
            self.forget(oldest)
