"""One network in memory: its recurrence, its cached words, and their cost in bytes."""

from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np

from unrolled_server.engine.job import InitialStates
from unrolled_server.engine.layers import layers_nbytes
from unrolled_server.engine.recurrence import Index, MakeRecurrence
from unrolled_server.engine.spec import NetworkSpec
from unrolled_server.engine.words import EncodedWords

_OBJECTS_NBYTES = 3_500  # Python and tensor objects of a layer in one direction, measured
# Longer lists walk the tree with all words at once, which is faster.
_MAX_WORDS = 256
_WORD_NBYTES = 200  # str, bytes and dict entry without the letters: measured 160, rounded up
_MAX_LIST_WORDS = 8


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


class WordCache:
    """Rows by text and vocabulary. Not thread-safe, except `has`. `nbytes` is an estimate."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self._rows_by_word: dict[Hashable, dict[str, bytes]] = {}
        self._by_list: dict[tuple[Hashable, ...], Index] = {}
        self._columns: tuple[int, ...] = ()
        self.nbytes = 0

    def has(self, words: EncodedWords) -> bool:
        """Returns whether `find` would find all words. Only reads."""
        rows_by_word = self._rows_by_word.get(words.vocabulary)
        return rows_by_word is not None and all(word in rows_by_word for word in words.words)

    def find(self, words: EncodedWords) -> Index | None:
        """Returns each letter's rows if every word is cached; a short list cached whole takes one look-up."""
        if len(words.words) <= _MAX_LIST_WORDS:
            index = self._by_list.get((words.vocabulary, *words.words))
            if index is not None:
                return index
        rows_by_word = self._rows_by_word.get(words.vocabulary)
        if rows_by_word is None or len(words.words) > _MAX_WORDS:
            return None
        return _index_of(words.words, rows_by_word, self._columns)

    def put(self, words: EncodedWords, index: Index) -> None:
        """Caches the rows of a list, if it is short."""
        if len(words.words) > _MAX_WORDS:
            return
        self._columns = index.shape[2:]
        rows_by_word = self._rows_by_word.setdefault(words.vocabulary, {})
        letter_nbytes = index[0, 0].nbytes
        rows, width = index.tobytes(), index.shape[1] * letter_nbytes
        for place, (word, size) in enumerate(zip(words.words, words.sizes(), strict=True)):
            if word not in rows_by_word:
                start = place * width
                rows_by_word[word] = rows[start : start + size * letter_nbytes]
                self.nbytes += _WORD_NBYTES + len(word) + size * letter_nbytes
        if len(words.words) <= _MAX_LIST_WORDS:
            self._by_list[words.vocabulary, *words.words] = index
            self.nbytes += 2 * _WORD_NBYTES + index.nbytes


def _index_of(
    words: Sequence[str], rows_by_word: Mapping[str, bytes], columns: tuple[int, ...]
) -> Index | None:
    """Returns the rows of the words' letters, 0 past a word's end; None if a word is missing."""
    try:
        rows = list(map(rows_by_word.__getitem__, words))
    except KeyError:
        return None
    sizes = set(map(len, rows))
    if len(sizes) > 1:
        size = max(sizes)
        rows = [row.ljust(size, b"\0") for row in rows]
    return np.frombuffer(b"".join(rows), np.int32).reshape(len(rows), -1, *columns)
