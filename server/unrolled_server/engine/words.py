"""Words as the engine takes them: the numbers of their symbols."""

from array import array
from collections.abc import Sequence
from zlib import crc32

import numpy as np

from unrolled_server.array_types import Int32


class EncodedWords:
    """One or more words whose symbols are known to be in a vocabulary. Immutable.

    Numbers are stored as bytes of int32, because small requests need no array of them: bytes are made, and
    passed to the core, in a third of the time.

    Attributes:
        symbols: Those of all words, one word after the other.
        sizes: The number of symbols of each word.
        starts: The number of each word's initial state; None if all start from zeros.
    """

    __slots__ = ("count", "letter_count", "max_length", "sizes", "starts", "symbols")

    def __init__(
        self, symbols: bytes, sizes: bytes, starts: bytes | None = None, *, max_length: int | None = None
    ) -> None:
        self.symbols = symbols
        self.sizes = sizes
        self.starts = starts
        self.count = len(sizes) // 4
        self.letter_count = len(symbols) // 4
        self.max_length = int(self.lengths.max()) if max_length is None else max_length

    @staticmethod
    def of(
        codes: Int32[np.ndarray, " symbols"],
        lengths: Int32[np.ndarray, " words"],
        starts: Int32[np.ndarray, " words"] | None = None,
    ) -> "EncodedWords":
        """Returns words from arrays of what the attributes hold."""
        return EncodedWords(codes.tobytes(), lengths.tobytes(), None if starts is None else starts.tobytes())

    def __len__(self) -> int:
        return self.count

    @property
    def codes(self) -> Int32[np.ndarray, " symbols"]:
        return np.frombuffer(self.symbols, np.int32)

    @property
    def lengths(self) -> Int32[np.ndarray, " words"]:
        return np.frombuffer(self.sizes, np.int32)

    @property
    def start_numbers(self) -> Int32[np.ndarray, " words"]:
        """The number of each word's initial state, 0 for zeros."""
        if self.starts is None:
            return np.zeros(len(self), np.int32)
        return np.frombuffer(self.starts, np.int32)

    @property
    def distinct_count(self) -> int:
        """The number of distinct symbols; takes some 30 ns for each symbol."""
        return len(set(memoryview(self.symbols).cast("i")))

    def part(self, start: int, stop: int) -> "EncodedWords":
        begin, end = (4 * int(self.lengths[:at].sum()) for at in (start, stop))
        words = slice(4 * start, 4 * stop)
        return EncodedWords(
            self.symbols[begin:end], self.sizes[words], None if self.starts is None else self.starts[words]
        )

    def starting_at(self, starts: Int32[np.ndarray, " words"]) -> "EncodedWords":
        return EncodedWords(self.symbols, self.sizes, starts.tobytes(), max_length=self.max_length)

    def transposed(self) -> "EncodedWords":
        """Returns one word per position, its symbols of every word; raises ValueError if lengths differ."""
        if self.letter_count != len(self) * self.max_length:
            raise ValueError(f"words have {self.lengths.min()} to {self.max_length} symbols; one is needed")
        columns = self.codes.reshape(len(self), self.max_length).T  # (words, seq) -> (seq, words)
        sizes = array("i", [len(self)]) * self.max_length
        return EncodedWords(columns.tobytes(), sizes.tobytes(), max_length=len(self))

    @staticmethod
    def of_random_words(sentences: Sequence[Sequence[str]]) -> "EncodedWords":
        """Returns sentences whose symbols are 31 bits of the CRC-32 of each word in UTF-8.

        Any two words have the same symbol, and so the same random vector, with a probability of 2**-31.
        """
        hashes = [crc32(word.encode()) & 0x7FFF_FFFF for sentence in sentences for word in sentence]
        return EncodedWords(array("i", hashes).tobytes(), array("i", map(len, sentences)).tobytes())

    @staticmethod
    def joined(parts: Sequence["EncodedWords"]) -> "EncodedWords":
        """Returns the words of several lists, which start from zeros and share one number of symbols."""
        return EncodedWords(
            b"".join(part.symbols for part in parts),
            b"".join(part.sizes for part in parts),
            max_length=max(part.max_length for part in parts),
        )
