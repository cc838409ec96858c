"""One network: its weights, the prefixes it has met, and their states.

A file of its own because tree and table must move together: a row that the tree hands out is computed before
anything else happens, or both are cleared.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np
from jaxtyping import Int32

from unrolled_server.engine.layers import Layers, layers_nbytes
from unrolled_server.engine.prefix_tree import PrefixTree, Step
from unrolled_server.engine.spec import NetworkSpec
from unrolled_server.engine.words import EncodedWords

# Lists up to this long are remembered word by word, which beats walking the tree; longer ones walk all words
# at once.
_MAX_REMEMBERED_WORDS = 256
_REMEMBERED_NBYTES = 200  # str, bytes and dict entry without the letters: measured 160, rounded up
_MAX_REMEMBERED_LIST = 8
_ROW_NBYTES = 4
_OBJECTS_NBYTES = 3_500  # a network's Python and tensor objects, without what they hold, measured


def base_nbytes(spec: NetworkSpec) -> int:
    """Gives what a network costs before it meets a word."""
    return layers_nbytes(spec) + _OBJECTS_NBYTES * spec.num_layers


def _index_of(
    words: Sequence[str], rows_by_word: Mapping[str, bytes]
) -> Int32[np.ndarray, "batch seq"] | None:
    """Gives the rows of the words' letters, 0 past a word's end; None if a word is missing."""
    try:
        rows = list(map(rows_by_word.__getitem__, words))
    except KeyError:
        return None
    sizes = set(map(len, rows))
    if len(sizes) > 1:
        size = max(sizes)
        rows = [row.ljust(size, b"\0") for row in rows]
    return np.frombuffer(b"".join(rows), np.int32).reshape(len(rows), -1)


class Network:
    """Layers and prefix tree of one spec. Not thread-safe.

    Args:
        spec: What was drawn.
        layers: What computes its rows, and their states.

    Attributes:
        layers: As given.
        table: The outputs: the last layer's states.
        counted_nbytes: What the budget counts for it; the cache's to set.
    """

    def __init__(self, spec: NetworkSpec, layers: Layers) -> None:
        self.base_nbytes = base_nbytes(spec)  # kept, as are row_nbytes: every request asks
        self.counted_nbytes = 0
        self.layers = layers
        self._tree = PrefixTree(spec.symbol_count)
        self._tables = [*layers.states, *layers.cells]
        self.table = layers.states[-1]
        self._row_states_nbytes = 4 * sum(table.hidden_size for table in self._tables)
        self.row_nbytes = self._tree.row_nbytes + self._row_states_nbytes
        self._remembered: dict[Hashable, dict[str, bytes]] = {}
        self._remembered_lists: dict[tuple[Hashable, ...], Int32[np.ndarray, "batch seq"]] = {}
        self._remembered_nbytes = 0

    @property
    def nbytes(self) -> int:
        """Memory held, the estimate of remembered words included."""
        states = self.table.capacity * self._row_states_nbytes
        return self.base_nbytes + self._tree.nbytes + states + self._remembered_nbytes

    def clear(self) -> None:
        """Starts anew: forgets every prefix and gives the memory back; the weights stay."""
        self._tree.clear()
        for table in self._tables:
            table.clear()
        self._forget_words()

    def remembers(self, words: EncodedWords) -> bool:
        """Whether `recall` would give an answer. Reads only, so another thread may ask."""
        remembered = self._remembered.get(words.vocabulary)
        return remembered is not None and all(word in remembered for word in words.words)

    def recall(self, words: EncodedWords) -> Int32[np.ndarray, "batch seq"] | None:
        """Gives each letter's row if every word is remembered, by one look-up a word.

        A short list that was learnt as it stands takes one look-up in all.
        """
        if len(words.words) <= _MAX_REMEMBERED_LIST:
            index = self._remembered_lists.get((words.vocabulary, *words.words))
            if index is not None:
                return index
        remembered = self._remembered.get(words.vocabulary)
        if remembered is None or len(words.words) > _MAX_REMEMBERED_WORDS:
            return None
        return _index_of(words.words, remembered)

    def learn(
        self, words: EncodedWords, *, max_rows: int | None, make_room: Callable[[int], None]
    ) -> Int32[np.ndarray, "batch seq"]:
        """Gives each letter's row, computing the states that are new.

        Args:
            words: What to resolve.
            max_rows: The most rows that this network may have; None for no limit.
            make_room: Called with the bytes about to be allocated for states.

        Raises:
            TableFullError: Too many rows. The network holds no prefixes any more; its weights stay.
        """
        try:
            resolution = self._tree.resolve(words, max_rows=max_rows)
            self._compute(resolution.steps, max_rows, make_room)
        except BaseException:  # the tree may name rows that were never computed
            self.clear()
            raise
        return resolution.index

    def remember(self, words: EncodedWords, index: Int32[np.ndarray, "batch seq"]) -> None:
        """Keeps the rows of short lists for `recall`; starts anew once that costs more than the states."""
        if len(words.words) > _MAX_REMEMBERED_WORDS:
            return
        if self._remembered_nbytes > self.table.nbytes + self._tree.nbytes:
            self._forget_words()
        symbols = words.vocabulary
        remembered = self._remembered.setdefault(symbols, {})
        rows, width = index.tobytes(), index.shape[1] * _ROW_NBYTES
        for place, (word, size) in enumerate(zip(words.words, words.sizes(), strict=True)):
            if word not in remembered:
                start = place * width
                remembered[word] = rows[start : start + size * _ROW_NBYTES]
                self._remembered_nbytes += _REMEMBERED_NBYTES + len(word) + _ROW_NBYTES * size
        if len(words.words) <= _MAX_REMEMBERED_LIST:
            self._remembered_lists[symbols, *words.words] = index
            self._remembered_nbytes += 2 * _REMEMBERED_NBYTES + index.nbytes

    def _forget_words(self) -> None:
        self._remembered.clear()
        self._remembered_lists.clear()
        self._remembered_nbytes = 0

    def _compute(self, steps: Sequence[Step], max_rows: int | None, make_room: Callable[[int], None]) -> None:
        """Runs the steps, in a table that is large enough."""
        capacity = self.table.new_capacity(self._tree.row_count, max_rows)
        if capacity > self.table.capacity:
            make_room(capacity * self._row_states_nbytes)
            for table in self._tables:
                table.grow(capacity)
        self.layers.run(steps)
