"""Words as the engine takes them: the numbers of their symbols."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int32


class EncodedWords:
    """One or more nonempty words whose symbols are known to be in a vocabulary. Immutable.

    Args:
        codes: The symbols of all words, one word after the other.
        lengths: Symbols of each word.
        starts: The number of each word's initial state; None if all start from zeros.
        max_length: The largest length, if it is known.
    """

    __slots__ = ("codes", "lengths", "letter_count", "max_length", "native", "starts")

    def __init__(
        self,
        codes: Int32[np.ndarray, " symbols"],
        lengths: Int32[np.ndarray, " words"],
        starts: Int32[np.ndarray, " words"] | None = None,
        *,
        max_length: int | None = None,
    ) -> None:
        self.codes = codes
        self.lengths = lengths
        self.starts = starts
        self.letter_count = len(codes)
        self.max_length = int(lengths.max()) if max_length is None else max_length
        self.native: object = None  # `core` stores the C structure of the words here

    def __len__(self) -> int:
        return len(self.lengths)

    def part(self, start: int, stop: int) -> "EncodedWords":
        begin, end = int(self.lengths[:start].sum()), int(self.lengths[:stop].sum())
        starts = self.starts
        return EncodedWords(
            self.codes[begin:end],
            self.lengths[start:stop],
            starts if starts is None else starts[start:stop],
        )

    def starting_at(self, starts: Int32[np.ndarray, " words"]) -> "EncodedWords":
        return EncodedWords(self.codes, self.lengths, starts, max_length=self.max_length)

    def transposed(self) -> "EncodedWords":
        """Returns one word per position, its symbols of every word; raises ValueError if lengths differ."""
        if self.letter_count != len(self) * self.max_length:
            raise ValueError(f"words have {self.lengths.min()} to {self.max_length} symbols; one is needed")
        columns = self.codes.reshape(len(self), self.max_length).T  # (words, seq) -> (seq, words)
        lengths = np.full(self.max_length, len(self), np.int32)
        return EncodedWords(columns.ravel(), lengths)

    @staticmethod
    def joined(parts: Sequence["EncodedWords"]) -> "EncodedWords":
        """Returns the words of several lists, which start from zeros and share one number of symbols."""
        return EncodedWords(
            np.concatenate([part.codes for part in parts]), np.concatenate([part.lengths for part in parts])
        )
