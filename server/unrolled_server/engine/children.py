"""The children of prefixes: a dense table for short alphabets, a dict for long ones."""

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int32, Int64

# A dense table costs 4 bytes per row and symbol; for longer alphabets only existing children are stored.
_MAX_DENSE_SYMBOLS = 128
_FIRST_CAPACITY = 64


class TableFullError(Exception):
    """The rows do not fit; the tree may hold part of them and must be cleared."""


def next_capacity(*, needed: int, capacity: int, max_rows: int | None) -> int:
    """Returns the capacity to grow to, half as much again if that fits; raises TableFullError.

    While a table grows, both copies exist; a table whose two copies exceed the limit must be cleared instead.
    """
    if max_rows is None:
        return max(needed, _FIRST_CAPACITY)
    if needed + capacity > max_rows:
        raise TableFullError
    return min(max(needed, capacity * 3 // 2, _FIRST_CAPACITY), max_rows - capacity)


@runtime_checkable  # for the shape checks of the tests
class RowByKey(Protocol):
    """Access by subscript, which costs small work half of what a method does."""

    def __getitem__(self, key: int, /) -> int:
        """Returns the child, or 0."""

    def __setitem__(self, key: int, row: int, /) -> None:
        """Stores a child."""


@runtime_checkable
class Children(Protocol):
    """Keys (parent row * symbols + symbol) to child rows; 0 means no child, since the root is never one.

    ``row_by_key`` is valid until the next `reserve`; ``row_nbytes`` is the cost of one more row, at most.
    """

    row_by_key: "RowByKey"
    row_nbytes: int

    @property
    def nbytes(self) -> int:
        """Memory held."""

    def reserve(self, row_count: int, max_rows: int | None) -> None:
        """Makes room for ``row_count`` rows in all; raises TableFullError beyond ``max_rows``."""

    def find_or_add(
        self, keys: Int64[np.ndarray, " n"], next_row: int
    ) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " new"]]:
        """Returns each key's row, and the distinct new keys, which got the rows from ``next_row`` on."""


class DenseChildren:
    """A cell for every row and symbol."""

    def __init__(self, symbol_count: int) -> None:
        self._symbol_count = symbol_count
        self.row_nbytes = 4 * symbol_count
        self._set_cells(np.zeros(0, np.int32))

    def _set_cells(self, cells: Int32[np.ndarray, " cells"]) -> None:
        self._cells = cells
        self.nbytes = cells.nbytes
        self.row_by_key: RowByKey = memoryview(cells.data)  # reads one cell in half of numpy's time

    def reserve(self, row_count: int, max_rows: int | None) -> None:
        capacity = len(self._cells) // self._symbol_count
        if row_count > capacity:
            capacity = next_capacity(needed=row_count, capacity=capacity, max_rows=max_rows)
            cells = np.zeros(capacity * self._symbol_count, np.int32)
            cells[: len(self._cells)] = self._cells
            self._set_cells(cells)

    def find_or_add(
        self, keys: Int64[np.ndarray, " n"], next_row: int
    ) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " new"]]:
        cells = self._cells
        rows = cells.take(keys)
        missing = keys[rows == 0]
        if not len(missing):
            return rows.astype(np.int64), missing
        # Equal keys share a cell: each writes its number, and the one that stays stands for all. No sorting.
        numbers = np.arange(len(missing), dtype=np.int32)
        cells[missing] = numbers
        new_keys = missing[cells.take(missing) == numbers]
        cells[new_keys] = np.arange(next_row, next_row + len(new_keys), dtype=np.int32)
        return cells.take(keys).astype(np.int64), new_keys


class _RowDict(dict[int, int]):
    """Child rows by key; 0 for a missing key."""

    def __missing__(self, key: int) -> int:
        return 0


class SparseChildren:
    """A dict entry for every child that exists."""

    row_nbytes = 120  # an int key, an int value and their dict entry, measured

    def __init__(self) -> None:
        self._rows = _RowDict()
        self.row_by_key: RowByKey = self._rows

    @property
    def nbytes(self) -> int:
        return len(self._rows) * self.row_nbytes

    def reserve(self, row_count: int, max_rows: int | None) -> None:
        if max_rows is not None and row_count > max_rows:
            raise TableFullError

    def find_or_add(
        self, keys: Int64[np.ndarray, " n"], next_row: int
    ) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " new"]]:
        distinct, inverse = np.unique(keys, return_inverse=True)
        known = self._rows
        rows = np.array([known.get(key, 0) for key in distinct.tolist()], np.int64)
        new_keys = distinct[rows == 0]
        new_rows = range(next_row, next_row + len(new_keys))
        rows[rows == 0] = new_rows
        known.update(zip(new_keys.tolist(), new_rows, strict=True))
        return rows[inverse], new_keys


def new_children(symbol_count: int) -> Children:
    """Returns an empty store of the kind that suits the alphabet."""
    return DenseChildren(symbol_count) if symbol_count <= _MAX_DENSE_SYMBOLS else SparseChildren()
