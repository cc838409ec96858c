r"""The tree of prefixes: (parent row, symbol) -> row. Pure bookkeeping without weights, states or device.

Rows are handed out position by position, so the new rows of one position are consecutive: one step.

         root = row 0
        /            \
      h = 1          o = 2           words: "he", "hi", "o"
     /      \
  he = 3   hi = 4                    index: [[1, 3], [1, 4], [2, 0]]    (0 is the padding, too)
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, Int64

from unrolled_server.engine.children import new_children
from unrolled_server.engine.words import EncodedWords

_NO_SYMBOL = -1
# Up to here, and beyond if a position has few letters, a loop over letters is faster than a dozen numpy calls
# per position (measured).
_MAX_LOOP_LETTERS = 256
_MAX_LOOP_LETTERS_A_POSITION = 12

Symbols = Sequence[int] | Int64[np.ndarray, " rows"]


class Step(NamedTuple):
    """The new rows of one position: ``first_row`` onwards, one for each (parent row, symbol).

    A tuple because small requests make one for every letter, and a frozen dataclass costs three times as
    much.
    """

    first_row: int
    parents: Symbols
    symbols: Symbols


@dataclass(frozen=True, slots=True)
class Resolution:
    """The row of each letter, and the steps that must be computed first, in order."""

    index: Int32[np.ndarray, "batch seq"]
    steps: Sequence[Step]


class PrefixTree:
    """The prefixes of one network. Not thread-safe.

    Words start at the first ``root_count`` rows; row 0, the padding, is one of them.
    """

    def __init__(self, symbol_count: int, *, root_count: int = 1) -> None:
        self._symbol_count = symbol_count
        self._root_count = root_count
        self.clear()

    def clear(self) -> None:
        """Drops every prefix and gives the memory back; the roots stay."""
        self._children = new_children(self._symbol_count)
        self.row_count = self._root_count

    @property
    def known_count(self) -> int:
        """Prefixes in the tree, roots excluded."""
        return self.row_count - self._root_count

    @property
    def nbytes(self) -> int:
        return self._children.nbytes

    @property
    def row_nbytes(self) -> int:
        return self._children.row_nbytes

    def resolve(self, words: EncodedWords, *, max_rows: int | None, first_root: int = 0) -> Resolution:
        """Finds each letter's row, adding new prefixes; words without initial states start at ``first_root``.

        Raises TableFullError beyond ``max_rows`` rows; then the tree must be cleared.
        """
        letter_count = words.letter_count
        is_short = letter_count <= _MAX_LOOP_LETTERS
        if is_short or letter_count <= _MAX_LOOP_LETTERS_A_POSITION * words.max_length:
            return self._resolve_by_loop(words, letter_count, max_rows, first_root)
        return self._resolve_by_position(words, max_rows, first_root)

    def _resolve_by_loop(
        self, words: EncodedWords, letter_count: int, max_rows: int | None, first_root: int
    ) -> Resolution:
        """Resolves a few letters by one loop, without a numpy call before the index."""
        self._children.reserve(self.row_count + letter_count, max_rows)
        row_by_key, symbol_count = self._children.row_by_key, self._symbol_count
        rows, new_row, columns, steps = words.roots(first_root), self.row_count, [], []
        for codes in zip_longest(*words.code_lists(), fillvalue=_NO_SYMBOL):
            first_row, parents, symbols, column = new_row, [], [], []
            for parent, symbol in zip(rows, codes):  # noqa: B905 - strict=True costs as much as a letter
                if symbol == _NO_SYMBOL:
                    column.append(0)
                    continue
                key = parent * symbol_count + symbol
                row = row_by_key[key]
                if not row:
                    row_by_key[key] = row = new_row
                    new_row += 1
                    parents.append(parent)
                    symbols.append(symbol)
                column.append(row)
            rows = column
            columns += column
            if parents:
                steps.append(Step(first_row, parents, symbols))
        self.row_count = new_row
        index = np.array(columns, np.int32).reshape(-1, len(words)).T  # (seq * batch,) -> (batch, seq)
        return Resolution(index, steps)

    def _resolve_by_position(self, words: EncodedWords, max_rows: int | None, first_root: int) -> Resolution:
        """Resolves all words at once, position by position, longest words first."""
        self._children.reserve(self.row_count, max_rows)
        lengths = words.lengths
        order = np.argsort(-lengths, kind="stable")
        columns = np.zeros((int(lengths.max()), len(lengths)), np.int32)
        rows = np.array(words.roots(first_root), np.int64)[order]
        steps = []
        for position, codes in enumerate(_columns_of(words.codes, lengths, order)):
            count = len(codes)
            keys = rows[:count] * self._symbol_count + codes
            rows, new_keys = self._children.find_or_add(keys, self.row_count)
            columns[position, :count] = rows
            if len(new_keys):
                parents, symbols = np.divmod(new_keys, self._symbol_count)
                steps.append(Step(self.row_count, parents, symbols))
                self.row_count += len(new_keys)
                self._children.reserve(self.row_count, max_rows)
        index = np.empty((len(lengths), len(columns)), np.int32)
        index[order] = columns.T  # (seq, batch), longest first -> (batch, seq), as given
        return Resolution(index, steps)


def _columns_of(
    codes: Int32[np.ndarray, " letters"],
    lengths: Int32[np.ndarray, " batch"],
    order: Int64[np.ndarray, " batch"],
) -> Iterator[Int32[np.ndarray, " words"]]:
    """Yields, for each position, the symbols of the words that reach it, in ``order`` (longest first)."""
    starts = (np.cumsum(lengths) - lengths)[order]
    reaching = len(lengths) - np.cumsum(np.bincount(lengths))  # at p: words longer than p
    for position in range(int(lengths.max())):
        yield codes.take(starts[: reaching[position]] + position)
