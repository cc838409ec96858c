"""Letters to numbers: a symbol is its index in the alphabet."""

from array import array
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate

import numpy as np

from unrolled_server.array_types import Int32, UInt32
from unrolled_server.engine.words import EncodedWords

# Beyond this code point a table by code point costs more memory than the search it saves.
_MAX_TABLE_CODE_POINT = 0x3000


class UnknownSymbolError(ValueError):
    """A letter that is not in the alphabet."""

    def __init__(self, word_index: int, position: int, symbol: str) -> None:
        super().__init__(
            f"words[{word_index}] has {symbol!r} at position {position}, which is not in the alphabet"
        )
        self.word_index = word_index


class DuplicateSymbolError(ValueError):
    """An alphabet that has a symbol twice, so its one-hot order would be ambiguous."""

    def __init__(self, symbol: str) -> None:
        super().__init__(f"the alphabet has {symbol!r} more than once")


class _MissingCodeError(Exception):
    """A letter has no code. str.translate would keep the letter if this were a LookupError."""


class _CodeByPoint(dict[int, int]):
    """A table for str.translate."""

    def __missing__(self, point: int) -> int:
        raise _MissingCodeError


class Alphabet:
    """Symbols in one-hot order. Use `Alphabet.of`, which caches recent ones.

    >>> Alphabet.of("helo").encode(["hello", "ole"]).codes
    array([0, 1, 2, 2, 3, 3, 2, 1], dtype=int32)
    """

    __slots__ = ("_code_of", "_sorted", "_table", "symbols")

    def __init__(self, symbols: str) -> None:
        self.symbols = symbols
        self._code_of = _CodeByPoint((ord(symbol), code) for code, symbol in enumerate(symbols))
        if len(self._code_of) != len(symbols):
            raise DuplicateSymbolError(next(s for i, s in enumerate(symbols) if s in symbols[:i]))
        self._table: Int32[np.ndarray, " points"] | None = None
        self._sorted: tuple[UInt32[np.ndarray, " symbols"], Int32[np.ndarray, " symbols"]] | None = None

    @staticmethod
    @lru_cache(maxsize=32)  # the largest take 4 MB each
    def of(symbols: str) -> "Alphabet":
        """Returns the alphabet of these symbols; raises DuplicateSymbolError."""
        return Alphabet(symbols)

    def __len__(self) -> int:
        return len(self.symbols)

    def encode(self, words: Sequence[str], *, allow_unknown: bool = False) -> EncodedWords:
        """Checks every letter of one or more words; raises UnknownSymbolError at an unknown one.

        With ``allow_unknown`` the code of unknown letters is the alphabet's length, which stands for zeros.
        """
        letters = "".join(words)
        sizes = list(map(len, words))
        try:
            codes = self._translate(letters) if letters.isascii() else self._code_all(letters)
        except _MissingCodeError:
            if not allow_unknown:
                raise self._unknown_symbol(letters, sizes) from None
            found = self._find_all(letters)
            codes = np.where(found < 0, np.int32(len(self)), found).tobytes()
        return EncodedWords(codes, array("i", sizes).tobytes(), max_length=max(sizes))

    def _translate(self, letters: str) -> bytes:
        """Codes ASCII letters, for which this is as fast as a table, and twice as fast for few letters."""
        return letters.translate(self._code_of).encode("utf-32-le", "surrogatepass")

    def _code_all(self, letters: str) -> bytes:
        codes = self._find_all(letters)
        if codes.min() < 0:
            raise _MissingCodeError
        return codes.tobytes()

    def _find_all(self, letters: str) -> Int32[np.ndarray, " letters"]:
        """Returns the code of each letter, or -1."""
        points = np.frombuffer(letters.encode("utf-32-le", "surrogatepass"), np.uint32)
        has_table = max(self.symbols) <= chr(_MAX_TABLE_CODE_POINT)
        return self._look_up(points) if has_table else self._search(points)

    def _look_up(self, points: UInt32[np.ndarray, " letters"]) -> Int32[np.ndarray, " letters"]:
        """Codes by a table over code points; all points beyond it fall on its last cell, which is empty."""
        if self._table is None:
            symbol_points = np.array(list(self._code_of))
            table = np.full(symbol_points.max() + 2, -1, np.int32)
            table[symbol_points] = np.arange(len(self.symbols), dtype=np.int32)
            self._table = table  # once it is complete, because threads share alphabets
        return self._table.take(points, mode="clip")

    def _search(self, points: UInt32[np.ndarray, " letters"]) -> Int32[np.ndarray, " letters"]:
        if self._sorted is None:
            symbol_points = np.array(list(self._code_of), np.uint32)
            order = np.argsort(symbol_points).astype(np.int32)
            self._sorted = symbol_points[order], order
        sorted_points, order = self._sorted
        place = np.minimum(np.searchsorted(sorted_points, points), len(order) - 1)
        return np.where(sorted_points[place] == points, order[place], np.int32(-1))

    def _unknown_symbol(self, letters: str, sizes: Sequence[int]) -> UnknownSymbolError:
        at = next(at for at, letter in enumerate(letters) if ord(letter) not in self._code_of)
        ends = list(accumulate(sizes))
        word_index = next(index for index, end in enumerate(ends) if at < end)
        return UnknownSymbolError(word_index, at - ends[word_index] + sizes[word_index], letters[at])
