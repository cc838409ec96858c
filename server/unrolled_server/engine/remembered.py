"""A cache of the rows of short word lists: one look-up per word or list instead of a walk of the tree."""

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
from jaxtyping import Int32

from unrolled_server.engine.words import EncodedWords

# Longer lists walk the tree with all words at once, which is faster.
_MAX_WORDS = 256
_WORD_NBYTES = 200  # str, bytes and dict entry without the letters: measured 160, rounded up
_MAX_LIST_WORDS = 8

Index = Int32[np.ndarray, "batch seq *columns"]


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
