"""Words as the engine takes them: texts, and the numbers of their symbols."""

from collections.abc import Hashable, Mapping, Sequence
from copy import copy
from itertools import accumulate

import numpy as np
from jaxtyping import Int32


class EncodedWords:
    """Words whose symbols are known to be in a vocabulary.

    Codes of letters are made on demand, because cached words never need them.

    Args:
        words: The texts; equal texts of one vocabulary have equal symbols.
        vocabulary: Identifies what the symbols mean; equal texts of two vocabularies differ.
        index: Each letter's symbol, for words whose symbols are their letters.
        codes: The symbols of all words, one word after the other, if they are made already.
        lengths: Symbols of each word, unless those are its letters.
        starts: The number of each word's initial state; None if all start from zeros.
    """

    __slots__ = ("_codes", "_index", "_lengths", "starts", "vocabulary", "words")

    def __init__(  # noqa: PLR0913 - optional facts, by name
        self,
        words: Sequence[str],
        vocabulary: Hashable,
        *,
        index: Mapping[str, int] | None = None,
        codes: Int32[np.ndarray, " letters"] | None = None,
        lengths: Int32[np.ndarray, " batch"] | None = None,
        starts: Int32[np.ndarray, " batch"] | None = None,
    ) -> None:
        self.words = words
        self.vocabulary = vocabulary
        self._index = index
        self._codes = codes
        self._lengths = lengths
        self.starts = starts

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
        return max(map(len, self.words)) if self._lengths is None else int(self._lengths.max())

    @property
    def lengths(self) -> Int32[np.ndarray, " batch"]:
        if self._lengths is None:
            return np.fromiter(map(len, self.words), np.int32, len(self.words))
        return self._lengths

    def sizes(self) -> list[int]:
        return list(map(len, self.words)) if self._lengths is None else self._lengths.tolist()

    def code_lists(self) -> list[list[int]]:
        if self._codes is None:
            code_of = (self._index or {}).__getitem__
            return [list(map(code_of, word)) for word in self.words]
        codes, sizes = self._codes.tolist(), self.sizes()
        return [codes[end - size : end] for size, end in zip(sizes, accumulate(sizes), strict=True)]

    def roots(self, first_root: int) -> list[int]:
        """Returns each word's root, if the initial states are the rows from ``first_root`` on."""
        if self.starts is None:
            return [first_root] * len(self.words)
        roots: list[int] = (self.starts + first_root).tolist()
        return roots

    def part(self, start: int, stop: int) -> "EncodedWords":
        codes, lengths, starts = self._codes, self._lengths, self.starts
        if codes is not None:
            bounds = [0, *accumulate(self.sizes())]
            codes = codes[bounds[start] : bounds[stop]]
        return EncodedWords(
            self.words[start:stop],
            self.vocabulary,
            index=self._index,
            codes=codes,
            lengths=None if lengths is None else lengths[start:stop],
            starts=None if starts is None else starts[start:stop],
        )

    def starting_at(self, starts: Int32[np.ndarray, " batch"]) -> "EncodedWords":
        words = copy(self)
        words.starts = starts
        return words

    def transposed(self) -> "EncodedWords":
        """Returns one word per position, its symbols of every word; raises ValueError if lengths differ."""
        if self._lengths is not None:
            return self._transposed_codes()
        columns = ["".join(column) for column in zip(*self.words, strict=True)]
        codes = self._codes
        if codes is not None:
            codes = codes.reshape(len(self), -1).T.ravel()  # (words, letters) -> (letters * words,)
        return EncodedWords(columns, self.vocabulary, index=self._index, codes=codes)

    def _transposed_codes(self) -> "EncodedWords":
        """Transposes words whose symbols are not letters; a column's text is made of its symbols."""
        columns = np.ascontiguousarray(self.codes.reshape(len(self), -1).T)  # (words, seq) -> (seq, words)
        return EncodedWords(
            [column.tobytes().hex() for column in columns],
            ("transposed", self.vocabulary),
            codes=columns.ravel(),
            lengths=np.full(len(columns), len(self), np.int32),
        )

    def reversed(self) -> "EncodedWords":
        """Returns each word's symbols from its end; the texts stay as they are."""
        lengths = self.lengths
        ends = np.cumsum(lengths)
        # The letter at place i of word w goes to place begin(w) + end(w) - 1 - i.
        mirrored = np.repeat(2 * ends - lengths - 1, lengths) - np.arange(ends[-1])
        return EncodedWords(
            self.words,
            ("reversed", self.vocabulary),
            codes=self.codes[mirrored],
            lengths=lengths,
            starts=self.starts,
        )

    def symbol_keys(self) -> list[bytes]:
        """Returns bytes for each word that are equal where symbols and initial state are."""
        codes, starts = self.codes, self.starts
        ends = [4 * end for end in accumulate(self.sizes())]
        memory = codes.tobytes()
        keys = [memory[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]
        if starts is not None:
            keys = [key + start.tobytes() for key, start in zip(keys, starts, strict=True)]
        return keys

    @staticmethod
    def joined(parts: Sequence["EncodedWords"]) -> "EncodedWords":
        """Returns the words of several lists, which share one number of symbols, as one list of codes.

        Letters of different alphabets mean different symbols, so the result has codes, but no readable texts.
        """
        words = [word for part in parts for word in part.words]
        codes = np.concatenate([part.codes for part in parts])
        lengths = np.concatenate([part.lengths for part in parts])
        return EncodedWords(words, tuple(part.vocabulary for part in parts), codes=codes, lengths=lengths)
