"""The rows of short lists of words, found by one look-up a word, or one a list.

A file of its own because it is the shortest way through the engine: walking the tree for the lesson's words
costs several times as much as their states.
"""

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
from jaxtyping import Int32

from unrolled_server.engine.words import EncodedWords

# Lists up to this long are remembered word by word, which beats walking the tree; longer ones walk all words
# at once.
_MAX_REMEMBERED_WORDS = 256
_REMEMBERED_NBYTES = 200  # str, bytes and dict entry without the letters: measured 160, rounded up
_MAX_REMEMBERED_LIST = 8

Index = Int32[np.ndarray, "batch seq *columns"]


class RememberedWords:
    """Rows by text and vocabulary. Not thread-safe, but `has` may be called from another thread.

    Attributes:
        nbytes: Memory held, estimated.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Starts anew."""
        self._rows_by_word: dict[Hashable, dict[str, bytes]] = {}
        self._by_list: dict[tuple[Hashable, ...], Index] = {}
        self._columns: tuple[int, ...] = ()
        self.nbytes = 0

    def has(self, words: EncodedWords) -> bool:
        """Whether `find` would give an answer. Reads only."""
        rows_by_word = self._rows_by_word.get(words.vocabulary)
        return rows_by_word is not None and all(word in rows_by_word for word in words.words)

    def find(self, words: EncodedWords) -> Index | None:
        """Gives each letter's rows if every word is remembered.

        A short list that was learnt as it stands takes one look-up in all.
        """
        if len(words.words) <= _MAX_REMEMBERED_LIST:
            index = self._by_list.get((words.vocabulary, *words.words))
            if index is not None:
                return index
        rows_by_word = self._rows_by_word.get(words.vocabulary)
        if rows_by_word is None or len(words.words) > _MAX_REMEMBERED_WORDS:
            return None
        return _index_of(words.words, rows_by_word, self._columns)

    def keep(self, words: EncodedWords, index: Index) -> None:
        """Keeps the rows of a list, if it is short."""
        if len(words.words) > _MAX_REMEMBERED_WORDS:
            return
        self._columns = index.shape[2:]
        rows_by_word = self._rows_by_word.setdefault(words.vocabulary, {})
        letter_nbytes = index[0, 0].nbytes
        rows, width = index.tobytes(), index.shape[1] * letter_nbytes
        for place, (word, size) in enumerate(zip(words.words, words.sizes(), strict=True)):
            if word not in rows_by_word:
                start = place * width
                rows_by_word[word] = rows[start : start + size * letter_nbytes]
                self.nbytes += _REMEMBERED_NBYTES + len(word) + size * letter_nbytes
        if len(words.words) <= _MAX_REMEMBERED_LIST:
            self._by_list[words.vocabulary, *words.words] = index
            self.nbytes += 2 * _REMEMBERED_NBYTES + index.nbytes


def _index_of(
    words: Sequence[str], rows_by_word: Mapping[str, bytes], columns: tuple[int, ...]
) -> Index | None:
    """Gives the rows of the words' letters, 0 past a word's end; None if a word is missing."""
    try:
        rows = list(map(rows_by_word.__getitem__, words))
    except KeyError:
        return None
    sizes = set(map(len, rows))
    if len(sizes) > 1:
        size = max(sizes)
        rows = [row.ljust(size, b"\0") for row in rows]
    return np.frombuffer(b"".join(rows), np.int32).reshape(len(rows), -1, *columns)
