"""From words to symbol indices. A symbol is one Unicode code point, never normalised."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32

UNKNOWN = -1
CODE_POINTS = 0x110000


class UnknownSymbolError(ValueError):
    """A word has a letter that its alphabet does not have.

    Attributes:
        word_index: Which word.
        position: Where in that word, in code points.
        symbol: The letter.
    """

    def __init__(self, *, word_index: int, position: int, symbol: str) -> None:
        super().__init__(f"words[{word_index}] has {symbol!r} at position {position}")
        self.word_index = word_index
        self.position = position
        self.symbol = symbol


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedWords:
    """The words of one request, laid end to end.

    Attributes:
        codes: The symbol index of every letter, word after word.
        lengths: The letters of each word.
    """

    codes: Int32[np.ndarray, " letters"]
    lengths: Int32[np.ndarray, " batch"]


class Alphabet:
    """Symbols in one-hot order."""

    def __init__(self, symbols: str) -> None:
        points = _code_points(symbols)
        # As long as its largest letter needs, plus one entry that every larger letter falls on.
        self._index_of = np.full(min(int(points.max()) + 2, CODE_POINTS), UNKNOWN, dtype=np.int32)
        self._index_of[points] = np.arange(len(points), dtype=np.int32)

    def encode(self, words: Sequence[str]) -> EncodedWords:
        """The symbol indices of `words`.

        Raises:
            UnknownSymbolError: A letter is not in the alphabet; the first one is named.
        """
        lengths = np.fromiter(map(len, words), dtype=np.int32, count=len(words))
        points = _code_points("".join(words))
        codes = self._index_of[np.minimum(points, len(self._index_of) - 1)]
        unknown = np.flatnonzero(codes == UNKNOWN)
        if unknown.size:
            raise _unknown_symbol(words, lengths=lengths, at=int(unknown[0]))
        return EncodedWords(codes=codes, lengths=lengths)


def _code_points(text: str) -> Int32[np.ndarray, " letters"]:
    return np.frombuffer(text.encode("utf-32-le"), dtype="<i4")


def _unknown_symbol(
    words: Sequence[str], *, lengths: Int32[np.ndarray, " batch"], at: int
) -> UnknownSymbolError:
    ends = np.cumsum(lengths)
    word_index = int(np.searchsorted(ends, at, side="right"))
    position = at - int(ends[word_index] - lengths[word_index])
    return UnknownSymbolError(word_index=word_index, position=position, symbol=words[word_index][position])
