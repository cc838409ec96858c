"""Words as the engine takes them: texts, and the symbols that stand for them.

A file of its own because behind it there are only numbers: what a symbol stands for is known to those who
made it.
"""

from collections.abc import Hashable, Mapping, Sequence
from itertools import accumulate

import numpy as np
from jaxtyping import Int32


class EncodedWords:
    """Words whose symbols are known to be in a vocabulary.

    Codes of letters are made when they are first asked for: words that the engine remembers never need them.

    Args:
        words: The texts; equal texts of one vocabulary have equal symbols.
        vocabulary: What the symbols were looked up in; tells texts of different meaning apart.
        index: Each letter's symbol, for words whose symbols are their letters.
        codes: The symbols of all words, one word after the other, if they are made already.
        lengths: Symbols of each word, where those aren't its letters.
    """

    __slots__ = ("_codes", "_index", "_lengths", "vocabulary", "words")

    def __init__(
        self,
        words: Sequence[str],
        vocabulary: Hashable,
        *,
        index: Mapping[str, int] | None = None,
        codes: Int32[np.ndarray, " letters"] | None = None,
        lengths: Int32[np.ndarray, " batch"] | None = None,
    ) -> None:
        self.words = words
        self.vocabulary = vocabulary
        self._index = index
        self._codes = codes
        self._lengths = lengths

    def __len__(self) -> int:
        return len(self.words)

    @property
    def codes(self) -> Int32[np.ndarray, " letters"]:
        """The symbols of all words, one word after the other."""
        if self._codes is None:
            symbols = self._index or {}
            self._codes = np.array([symbols[letter] for letter in "".join(self.words)], np.int32)
        return self._codes

    @property
    def letter_count(self) -> int:
        """Symbols of all words together."""
        return sum(map(len, self.words)) if self._lengths is None else int(self._lengths.sum())

    @property
    def max_length(self) -> int:
        """Symbols of the longest word."""
        return max(map(len, self.words)) if self._lengths is None else int(self._lengths.max())

    @property
    def lengths(self) -> Int32[np.ndarray, " batch"]:
        """Symbols of each word."""
        if self._lengths is None:
            return np.fromiter(map(len, self.words), np.int32, len(self.words))
        return self._lengths

    def sizes(self) -> list[int]:
        """Gives the symbols of each word as a list."""
        return list(map(len, self.words)) if self._lengths is None else self._lengths.tolist()

    def code_lists(self) -> list[list[int]]:
        """Gives each word's symbols as a list."""
        if self._codes is None:
            code_of = (self._index or {}).__getitem__
            return [list(map(code_of, word)) for word in self.words]
        codes, sizes = self._codes.tolist(), self.sizes()
        return [codes[end - size : end] for size, end in zip(sizes, accumulate(sizes), strict=True)]

    def part(self, start: int, stop: int) -> "EncodedWords":
        """Gives the words ``start:stop``, already checked."""
        codes, lengths = self._codes, self._lengths
        if codes is not None:
            bounds = [0, *accumulate(self.sizes())]
            codes = codes[bounds[start] : bounds[stop]]
        if lengths is not None:
            lengths = lengths[start:stop]
        return EncodedWords(
            self.words[start:stop], self.vocabulary, index=self._index, codes=codes, lengths=lengths
        )

    def transposed(self) -> "EncodedWords":
        """Gives one word per position, made of that position's symbol of every word.

        Raises:
            ValueError: The words differ in length.
        """
        columns = ["".join(column) for column in zip(*self.words, strict=True)]
        codes = self._codes
        if codes is not None:
            codes = codes.reshape(len(self), -1).T.ravel()  # (words, letters) -> (letters * words,)
        return EncodedWords(columns, self.vocabulary, index=self._index, codes=codes)

    @staticmethod
    def joined(parts: Sequence["EncodedWords"]) -> "EncodedWords":
        """Gives the words of several, which share one number of symbols, as one list of codes.

        The letters of different alphabets mean different symbols, so the result is for resolving, not for
        reading.
        """
        words = [word for part in parts for word in part.words]
        codes = np.concatenate([part.codes for part in parts])
        lengths = np.concatenate([part.lengths for part in parts])
        return EncodedWords(words, tuple(part.vocabulary for part in parts), codes=codes, lengths=lengths)
