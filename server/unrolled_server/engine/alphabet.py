"""Letters to numbers: a symbol is its index in the alphabet."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate

import numpy as np
from jaxtyping import Int32, UInt32

from unrolled_server.engine.words import EncodedWords

# Shorter word lists are checked by a set and coded letter by letter; for longer ones a numpy pass is faster.
_MAX_SMALL_WORDS = 32
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


class Alphabet:
    """Symbols in one-hot order. Use `Alphabet.of`, which caches recent ones.

    >>> Alphabet.of("helo").encode(["hello", "ole"]).codes
    array([0, 1, 2, 2, 3, 3, 2, 1], dtype=int32)
    """

    __slots__ = ("_sorted", "_table", "index", "symbol_set", "symbols")

    def __init__(self, symbols: str) -> None:
        self.symbols = symbols
        self.index = {symbol: code for code, symbol in enumerate(symbols)}
        if len(self.index) != len(symbols):
            raise DuplicateSymbolError(next(s for i, s in enumerate(symbols) if s in symbols[:i]))
        self.symbol_set = frozenset(symbols)
        self._table: Int32[np.ndarray, " points"] | None = None
        self._sorted: tuple[UInt32[np.ndarray, " symbols"], Int32[np.ndarray, " symbols"]] | None = None

    @staticmethod
    @lru_cache(maxsize=32)  # the largest take 4 MB each
    def of(symbols: str) -> "Alphabet":
        """Returns the alphabet of these symbols; raises DuplicateSymbolError."""
        return Alphabet(symbols)

    def __len__(self) -> int:
        return len(self.symbols)

    def encode(self, words: Sequence[str]) -> EncodedWords:
        """Checks every letter of one or more nonempty words; raises UnknownSymbolError at an unknown one."""
        letters = "".join(words)
        if len(words) > _MAX_SMALL_WORDS:
            codes = self._code_all(letters, words)
            return EncodedWords(words, self.symbols, index=self.index, codes=codes)
        if not self.symbol_set.issuperset(letters):
            position = next(i for i, letter in enumerate(letters) if letter not in self.symbol_set)
            raise _unknown_symbol(words, letters, position)
        return EncodedWords(words, self.symbols, index=self.index)

    def _code_all(self, letters: str, words: Sequence[str]) -> Int32[np.ndarray, " letters"]:
        points = np.frombuffer(letters.encode("utf-32-le", "surrogatepass"), np.uint32)
        codes = (
            self._search(points) if max(self.symbols) > chr(_MAX_TABLE_CODE_POINT) else self._look_up(points)
        )
        if codes.min() < 0:
            raise _unknown_symbol(words, letters, int(np.argmax(codes < 0)))
        return codes

    def _look_up(self, points: UInt32[np.ndarray, " letters"]) -> Int32[np.ndarray, " letters"]:
        """Codes by a table over code points; all points beyond it fall on its last cell, which is empty."""
        if self._table is None:
            symbol_points = np.array([ord(symbol) for symbol in self.symbols])
            self._table = np.full(symbol_points.max() + 2, -1, np.int32)
            self._table[symbol_points] = np.arange(len(self.symbols), dtype=np.int32)
        return self._table.take(points, mode="clip")

    def _search(self, points: UInt32[np.ndarray, " letters"]) -> Int32[np.ndarray, " letters"]:
        if self._sorted is None:
            symbol_points = np.array([ord(symbol) for symbol in self.symbols], np.uint32)
            order = np.argsort(symbol_points).astype(np.int32)
            self._sorted = symbol_points[order], order
        sorted_points, order = self._sorted
        place = np.minimum(np.searchsorted(sorted_points, points), len(order) - 1)
        return np.where(sorted_points[place] == points, order[place], np.int32(-1))


def _unknown_symbol(words: Sequence[str], letters: str, position: int) -> UnknownSymbolError:
    ends = list(accumulate(map(len, words)))
    word_index = int(np.searchsorted(ends, position, side="right"))
    return UnknownSymbolError(
        word_index, position - ends[word_index] + len(words[word_index]), letters[position]
    )
