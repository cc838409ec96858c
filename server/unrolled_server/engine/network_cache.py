"""The networks in memory, within a budget of bytes; the least recently used are evicted whole."""

import contextlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from unrolled_server.engine.devices import Backend
from unrolled_server.engine.initialization import draw
from unrolled_server.engine.job import InitialStates, Stop
from unrolled_server.engine.network import Network
from unrolled_server.engine.spec import NetworkSpec, WordVectors
from unrolled_server.engine.words import EncodedWords

_KEPT_STEP = 1 << 20
_OBJECTS_NBYTES = 3_000  # Python objects of a network, measured
_SYMBOL_NBYTES = 32  # working memory of a call, for each symbol
_MIN_WORD_BYTES = 256 << 20


@dataclass(slots=True, eq=False)
class CachedNetwork:
    """A network, how many rows it may have if it is alone in memory, and what the budget counts for it.

    A single word may have ``max_word_rows``, which are more if the budget is small. A run that failed
    or was stopped leaves a network unfinished: later ones may need memory for rows that are already counted.
    """

    spec: NetworkSpec
    network: Network
    max_rows: int
    max_word_rows: int
    nbytes: int = 0
    row_count: int = 0
    is_unfinished: bool = False


class NetworkCache:
    """Networks by spec. Not thread-safe, except `peek`.

    ``budget_bytes`` are for weights, states and indexes of all networks as they are allocated, for their
    Python objects, for a call's working memory, and for memory of dropped networks that the next ones use.
    One network that needs more for a single word gets up to 256 MiB while it is the only one. Specs name
    ``vectors`` by digest.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        budget_bytes: int,
        vectors: Mapping[str, WordVectors] | None = None,
    ) -> None:
        self._backend = backend
        self._budget_bytes = budget_bytes
        self._vectors = vectors or {}
        self._networks: OrderedDict[NetworkSpec, CachedNetwork] = OrderedDict()
        self.held_bytes = 0
        self._kept_bytes = 0

    def __len__(self) -> int:
        return len(self._networks)

    def peek(self, spec: NetworkSpec) -> CachedNetwork | None:
        """Returns a network if it is in memory; does not count as use."""
        return self._networks.get(spec)

    def use(self, spec: NetworkSpec, stop: Stop | None = None) -> CachedNetwork:
        """Returns a network, drawing it if it is not in memory, and counts as use; raises StoppedError."""
        cached = self._networks.get(spec)
        if cached is None:
            # Drawn parameters and packed ones are in memory at once.
            self._make_room(2 * spec.parameter_nbytes + _OBJECTS_NBYTES, keep=None)
            vectors = self._vectors[spec.vectors] if spec.vectors else None
            cached = self._cached(spec, self._backend.network(spec, draw(spec, stop), vectors))
            self._networks[spec] = cached
        else:
            self._networks.move_to_end(spec)
        return cached

    @contextlib.contextmanager
    def temporary(self, cached: CachedNetwork, starts: InitialStates) -> Iterator[CachedNetwork]:
        """Provides a network of the same weights whose words start at given states, for one request.

        The budget counts its weights once more meanwhile, as they may outlive the network.
        """
        temporary = self._cached(cached.spec, cached.network.starting_at(starts))
        try:
            yield temporary
        finally:
            temporary.network.close()
            self._count(-temporary.nbytes)

    def reserve(self, cached: CachedNetwork, words: EncodedWords, *, besides_nbytes: int = 0) -> int:
        """Evicts others, if need be, so that the states of words fit that may be new.

        They fit together with ``besides_nbytes``, which others will need. Returns what the words may need.
        """
        row_count, network = words.letter_count * cached.spec.rows_per_symbol, cached.network
        nbytes = min(row_count, cached.max_rows) * network.row_nbytes + words.letter_count * _SYMBOL_NBYTES
        needed = besides_nbytes + nbytes
        if self.held_bytes + needed > self._budget_bytes and not network.is_known(words):
            self._make_room(needed, keep=cached)
        return nbytes

    def measure(self, cached: CachedNetwork) -> None:
        """Updates the count of a network's bytes, and evicts others while the budget is exceeded."""
        nbytes = cached.network.nbytes + _OBJECTS_NBYTES
        self._count(nbytes - cached.nbytes)
        cached.nbytes = nbytes
        self._make_room(0, keep=cached)

    def _cached(self, spec: NetworkSpec, network: Network) -> CachedNetwork:
        room = self._budget_bytes - network.weights_nbytes - _OBJECTS_NBYTES
        max_rows = max(1, room // network.row_nbytes)
        cached = CachedNetwork(spec, network, max_rows, max(max_rows, _MIN_WORD_BYTES // network.row_nbytes))
        self.measure(cached)
        return cached

    def forget(self, spec: NetworkSpec) -> None:
        cached = self._networks.pop(spec, None)
        if cached is not None:
            nbytes = cached.nbytes
            del cached  # released first: what is released later raises the limit that `_count` sets
            self._count(-nbytes)

    def clear(self) -> None:
        """Drops all networks."""
        self._networks.clear()
        self.held_bytes = 0

    def _count(self, nbytes: int) -> None:
        """Counts bytes as held; dropped networks leave their memory to others as far as the budget allows."""
        self.held_bytes += nbytes
        free_bytes = max(0, self._budget_bytes - self.held_bytes)
        # Seldom, because it takes a tenth of a small job; in between the core counts what it allocates.
        if abs(free_bytes - self._kept_bytes) >= _KEPT_STEP:
            self._kept_bytes = free_bytes
            self._backend.keep_released(free_bytes)

    def _make_room(self, nbytes: int, *, keep: CachedNetwork | None) -> None:
        """Evicts networks until ``nbytes`` more fit or only ``keep`` is left."""
        while self.held_bytes + nbytes > self._budget_bytes:
            oldest = next((spec for spec, cached in self._networks.items() if cached is not keep), None)
            if oldest is None:
                return
            self.forget(oldest)
