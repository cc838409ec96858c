"""One network in memory: its recurrence, its cached words, and their cost in bytes."""

from collections.abc import Callable

from unrolled_server.engine.layers import layers_nbytes
from unrolled_server.engine.recurrence import Index, MakeRecurrence
from unrolled_server.engine.remembered import WordCache
from unrolled_server.engine.spec import NetworkSpec
from unrolled_server.engine.starts import InitialStates
from unrolled_server.engine.words import EncodedWords

_OBJECTS_NBYTES = 3_500  # Python and tensor objects of a layer in one direction, measured


def base_nbytes(spec: NetworkSpec) -> int:
    """Returns the cost of a network without any words."""
    return layers_nbytes(spec) + _OBJECTS_NBYTES * spec.num_layers * spec.directions


class CachedNetwork:
    """The states of one spec's words. Not thread-safe, except `has_cached_rows`.

    ``counted_nbytes`` is what the budget counts for it; the cache sets it.
    """

    def __init__(
        self, spec: NetworkSpec, make_recurrence: MakeRecurrence, starts: InitialStates | None = None
    ) -> None:
        self._spec = spec
        self._make_recurrence = make_recurrence
        self.recurrence = make_recurrence(starts)
        self.gather = self.recurrence.gather  # stored, as are the sizes, because every request reads it
        self.base_nbytes = base_nbytes(spec)
        self.row_nbytes = self.recurrence.row_nbytes
        self.counted_nbytes = 0
        self._words = WordCache()
        self.has_cached_rows = self._words.has
        self.cached_rows = self._words.find

    @property
    def nbytes(self) -> int:
        return self.base_nbytes + self.recurrence.nbytes + self._words.nbytes

    def starting_at(self, starts: InitialStates) -> "CachedNetwork":
        """Returns a network of the same weights, without rows, whose words start at the given states."""
        return CachedNetwork(self._spec, self._make_recurrence, starts)

    def clear(self) -> None:
        """Drops every word and gives the memory back; the weights stay."""
        self.recurrence.clear()
        self._words.clear()

    def compute_rows(
        self, words: EncodedWords, *, max_rows: int | None, make_room: Callable[[int], None]
    ) -> Index:
        """Returns each letter's rows, computing new states; if it fails, all words are dropped.

        ``make_room`` gets the bytes about to be allocated. Raises TableFullError beyond ``max_rows`` rows.
        """
        try:
            return self.recurrence.compute_rows(words, max_rows=max_rows, make_room=make_room)
        except BaseException:  # the tree may hold rows that were never computed
            self.clear()
            raise

    def cache(self, words: EncodedWords, index: Index) -> None:
        """Caches the rows of short lists; drops those before once they cost more than the states."""
        if self._words.nbytes > self.recurrence.nbytes:
            self._words.clear()
        self._words.put(words, index)
