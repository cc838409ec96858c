"""One network in memory: its recurrence, the words it remembers, and what both cost.

A file of its own because rows and what names them must be forgotten together.
"""

from collections.abc import Callable

from unrolled_server.engine.layers import layers_nbytes
from unrolled_server.engine.recurrence import Index, MakeRecurrence
from unrolled_server.engine.remembered import RememberedWords
from unrolled_server.engine.spec import NetworkSpec
from unrolled_server.engine.starts import Starts
from unrolled_server.engine.words import EncodedWords

_OBJECTS_NBYTES = 3_500  # of a layer's Python and tensor objects in one direction, measured


def base_nbytes(spec: NetworkSpec) -> int:
    """Gives what a network costs before it meets a word."""
    return layers_nbytes(spec) + _OBJECTS_NBYTES * spec.num_layers * spec.directions


class Network:
    """The states of one spec's words. Not thread-safe, but `remembers` may be called from another thread.

    Args:
        spec: What was drawn.
        make_recurrence: Makes what computes; its weights are shared.
        starts: Where words start, if not at zeros.

    Attributes:
        recurrence: What computes.
        gather: The recurrence's; kept, as are the sizes, because every request asks.
        counted_nbytes: What the budget counts for it; the cache's to set.
    """

    def __init__(
        self, spec: NetworkSpec, make_recurrence: MakeRecurrence, starts: Starts | None = None
    ) -> None:
        self._spec = spec
        self._make_recurrence = make_recurrence
        self.recurrence = make_recurrence(starts)
        self.gather = self.recurrence.gather
        self.base_nbytes = base_nbytes(spec)
        self.row_nbytes = self.recurrence.row_nbytes
        self.counted_nbytes = 0
        self._remembered = RememberedWords()
        self.remembers = self._remembered.has
        self.recall = self._remembered.find

    @property
    def nbytes(self) -> int:
        """Memory held, the estimate of remembered words included."""
        return self.base_nbytes + self.recurrence.nbytes + self._remembered.nbytes

    def started_at(self, starts: Starts) -> "Network":
        """Gives a network of the same weights, without rows, whose words start at given states."""
        return Network(self._spec, self._make_recurrence, starts)

    def clear(self) -> None:
        """Starts anew: forgets every word and gives the memory back; the weights stay."""
        self.recurrence.clear()
        self._remembered.forget()

    def learn(self, words: EncodedWords, *, max_rows: int | None, make_room: Callable[[int], None]) -> Index:
        """Gives each letter's rows, computing the states that are new.

        Args:
            words: What to resolve.
            max_rows: The most rows that this network may have; None for no limit.
            make_room: Called with the bytes about to be allocated for states.

        Raises:
            TableFullError: Too many rows. The network knows no words any more; its weights stay.
        """
        try:
            return self.recurrence.learn(words, max_rows=max_rows, make_room=make_room)
        except BaseException:  # rows may be named that were never computed
            self.clear()
            raise

    def remember(self, words: EncodedWords, index: Index) -> None:
        """Keeps the rows of short lists for `recall`; starts anew once that costs more than the states."""
        if self._remembered.nbytes > self.recurrence.nbytes:
            self._remembered.forget()
        self._remembered.keep(words, index)
