"""A server's memory without its arithmetic: which states are known, which networks are still there.

A file of its own because it repeats the rules of `unrolled_server.engine` (network_cache, states, children,
remembered) by counting alone, so that hours of traffic take seconds. A test sends the same requests through
this and through the real engine and wants the same counts: states computed, networks held, bytes held.
"""

from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np

from bench.scaling.corpus import Corpus

SYMBOL_NBYTES = 4
FLOAT_NBYTES = 4
FIRST_CAPACITY = 64
# Lists up to this long are remembered word by word; those up to the other also as a whole.
MAX_REMEMBERED_WORDS, MAX_REMEMBERED_LIST = 256, 8
REMEMBERED_NBYTES = 200
# Requests up to this size reserve for all their letters before any is looked up.
MAX_LOOP_LETTERS, MAX_LOOP_LETTERS_A_POSITION = 256, 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What a network and a state cost.

    Attributes:
        base_nbytes: A network without words.
        hidden_size: Floats of a state.
        symbol_count: Children that a prefix may have.
    """

    base_nbytes: int
    hidden_size: int
    symbol_count: int

    @property
    def state_nbytes(self) -> int:
        """A state's floats."""
        return FLOAT_NBYTES * self.hidden_size

    @property
    def node_nbytes(self) -> int:
        """A prefix's children."""
        return SYMBOL_NBYTES * self.symbol_count

    @property
    def row_nbytes(self) -> int:
        """Both."""
        return self.state_nbytes + self.node_nbytes


class FullError(Exception):
    """A table can't grow within its limit."""


def next_capacity(needed: int, capacity: int, max_rows: int) -> int:
    """As the engine's; old and new live together while a table grows."""
    if needed <= capacity:
        return capacity
    if needed + capacity > max_rows:
        raise FullError
    return min(max(needed, capacity * 3 // 2, FIRST_CAPACITY), max_rows - capacity)


@dataclass(slots=True)
class _Network:
    known: np.ndarray
    row_count: int = 1
    tree_capacity: int = 0
    state_capacity: int = 0
    remembered: set[int] = field(default_factory=set)
    remembered_nbytes: int = 0
    counted_nbytes: int = 0

    def clear(self) -> None:
        self.known[:] = False
        self.row_count, self.tree_capacity, self.state_capacity = 1, 0, 0
        self.forget_words()

    def forget_words(self) -> None:
        self.remembered, self.remembered_nbytes = set(), 0


class SimulatedCache:
    """One server process's memory.

    Args:
        corpus: What requests are made of.
        sizes: The same for all networks.
        budget_bytes: As the server's ``--state-memory-mb``.

    Attributes:
        asked_rows: States asked for.
        computed_rows: States that weren't known.
        request_count: Requests so far.
        drawn_count: Networks drawn, again and again where they had left.
        restart_count: Tables that were full and started anew.
    """

    def __init__(self, corpus: Corpus, *, sizes: Sizes, budget_bytes: int) -> None:
        self._corpus = corpus
        self._sizes = sizes
        self._budget_bytes = budget_bytes
        self._max_rows = max(0, budget_bytes - sizes.base_nbytes) // sizes.row_nbytes
        self._networks: OrderedDict[int, _Network] = OrderedDict()
        self._prefix_count = len(corpus.prefix_shares)
        self.held_bytes = 0
        self.asked_rows = self.computed_rows = 0
        self.request_count = self.drawn_count = self.restart_count = 0

    def __len__(self) -> int:
        return len(self._networks)

    def ask(self, name: int, picks: np.ndarray) -> None:
        """One request: a network's number, and the numbers of its words."""
        network = self._use(name)
        self.request_count += 1
        self.asked_rows += int(self._corpus.lengths[picks].sum())
        if self._is_remembered(network, picks):
            return
        try:
            self._learn(network, picks)
        except FullError:
            self.restart_count += 1
            network.clear()
            self._measure(network)
            self._learn(network, picks)
        self._measure(network)
        self._remember(network, picks)
        self._measure(network)

    def _use(self, name: int) -> _Network:
        network = self._networks.get(name)
        if network is None:
            self._make_room(self._sizes.base_nbytes, keep=None)
            network = self._networks[name] = _Network(np.zeros(self._prefix_count, bool))
            self.drawn_count += 1
            self._measure(network)
        self._networks.move_to_end(name)
        return network

    def _is_remembered(self, network: _Network, picks: np.ndarray) -> bool:
        return len(picks) <= MAX_REMEMBERED_WORDS and network.remembered.issuperset(picks.tolist())

    def _learn(self, network: _Network, picks: np.ndarray) -> None:
        asked = self._corpus.prefixes_of(picks)
        new = np.unique(asked[~network.known[asked]])
        self._grow_tree(network, picks, letter_count=len(asked), new=new)
        capacity = next_capacity(network.row_count, network.state_capacity, self._max_rows)
        if capacity > network.state_capacity:
            self._make_room(capacity * self._sizes.state_nbytes, keep=network)
            network.state_capacity = capacity
        network.known[new] = True
        self.computed_rows += len(new)

    def _grow_tree(self, network: _Network, picks: np.ndarray, *, letter_count: int, new: np.ndarray) -> None:
        """Small requests reserve for all their letters, large ones for each position's."""
        longest = int(self._corpus.lengths[picks].max())
        if letter_count <= max(MAX_LOOP_LETTERS, MAX_LOOP_LETTERS_A_POSITION * longest):
            self._reserve_tree(network, network.row_count + letter_count)
            network.row_count += len(new)
            return
        self._reserve_tree(network, network.row_count)
        for count in np.bincount(self._corpus.depths[new]).tolist() if len(new) else ():
            network.row_count += count
            self._reserve_tree(network, network.row_count)

    def _reserve_tree(self, network: _Network, row_count: int) -> None:
        network.tree_capacity = next_capacity(row_count, network.tree_capacity, self._max_rows)

    def _remember(self, network: _Network, picks: np.ndarray) -> None:
        if network.remembered_nbytes > self._rows_nbytes(network):
            network.forget_words()
        if len(picks) > MAX_REMEMBERED_WORDS:
            return
        lengths = self._corpus.lengths
        for pick in set(picks.tolist()) - network.remembered:
            network.remembered_nbytes += REMEMBERED_NBYTES + 5 * int(
                lengths[pick]
            )  # text, and a row a letter
        network.remembered.update(picks.tolist())
        if len(picks) <= MAX_REMEMBERED_LIST:
            network.remembered_nbytes += 2 * REMEMBERED_NBYTES + 4 * len(picks) * int(lengths[picks].max())

    def _rows_nbytes(self, network: _Network) -> int:
        return (
            network.tree_capacity * self._sizes.node_nbytes
            + network.state_capacity * self._sizes.state_nbytes
        )

    def _measure(self, network: _Network) -> None:
        size = self._sizes.base_nbytes + self._rows_nbytes(network) + network.remembered_nbytes
        self.held_bytes += size - network.counted_nbytes
        network.counted_nbytes = size
        self._make_room(0, keep=network)

    def _make_room(self, nbytes: int, *, keep: _Network | None) -> None:
        while self.held_bytes + nbytes > self._budget_bytes:
            oldest = next((name for name, network in self._networks.items() if network is not keep), None)
            if oldest is None:
                return
            self.held_bytes -= self._networks.pop(oldest).counted_nbytes
