"""The state table, one row of floats for each prefix: how it grows, and how replies are gathered from it."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float32, Int32
from torch import Tensor

from unrolled_server.engine.children import next_capacity
from unrolled_server.engine.memory import zeros

# For replies up to this size malloc returns warm memory; larger ones reuse one buffer, because a fresh 12 MB
# array costs thousands of page faults.
_MAX_FRESH_REPLY_BYTES = 64 * 1024


class StateTable:
    """The states of one network. Row 0 is zero: the start, and the padding. Not thread-safe.

    Rows hold exactly ``hidden_size`` floats, so a reply is one contiguous gather; the padding that exact bits
    need lives in the step's scratch (see `cells`). ``capacity`` is the number of rows that fit.
    """

    def __init__(self, hidden_size: int, device: torch.device) -> None:
        self.hidden_size = hidden_size
        self._device = device
        self.is_on_cpu = device.type == "cpu"
        self.clear()

    def clear(self) -> None:
        self._allocate(0)

    def grow(self, capacity: int) -> None:
        old = self.rows
        self._allocate(capacity)
        self.rows[: len(old)] = old

    def _allocate(self, capacity: int) -> None:
        """Allocates memory without touching it; its size is stored because every request reads it."""
        self.capacity = capacity
        self.nbytes = 4 * self.hidden_size * capacity
        shape = (capacity, self.hidden_size)
        self.rows_on_cpu: Float32[np.ndarray, "_ hidden"] = zeros(*(shape if self.is_on_cpu else (0, 0)))
        self.rows: Float32[Tensor, "rows hidden"] = (
            torch.from_numpy(self.rows_on_cpu) if self.is_on_cpu else torch.zeros(shape, device=self._device)
        )

    def gather(
        self, index: Int32[np.ndarray, "*places"], scratch: "ReplyScratch"
    ) -> Float32[np.ndarray, "*places hidden"]:
        """Returns ``rows[index]``, in fresh memory if small, else in the scratch."""
        if not self.is_on_cpu:
            places = torch.from_numpy(np.ascontiguousarray(index).ravel()).to(self._device)
            found = self.rows.index_select(0, places)
            return found.cpu().numpy().reshape(*index.shape, self.hidden_size)
        if 4 * index.size * self.hidden_size <= _MAX_FRESH_REPLY_BYTES:
            return self.rows_on_cpu.take(index, axis=0)
        values = scratch.view((*index.shape, self.hidden_size))
        # numpy's default mode writes through a second buffer; no index is ever out of range.
        return self.rows_on_cpu.take(index, axis=0, out=values, mode="clip")

    def take(self, rows: Int32[np.ndarray, "*places"]) -> Float32[np.ndarray, "*places hidden"]:
        if self.is_on_cpu:
            return self.rows_on_cpu.take(rows, axis=0)
        return self.gather(rows, ReplyScratch())

    def on_cpu(self) -> Float32[np.ndarray, "rows hidden"]:
        """Returns all rows, without a copy if they are on the CPU."""
        return self.rows_on_cpu if self.is_on_cpu else self.rows.cpu().numpy()


class TableGroup:
    """Tables in which a row stands for the same prefix, and which grow together.

    ``roots`` are the first rows of each table, unless they are zeros; ``row_nbytes`` is a row's cost in all.
    """

    def __init__(
        self, tables: Sequence[StateTable], *, roots: Sequence[Float32[np.ndarray, "roots _"]] = ()
    ) -> None:
        self._tables = tables
        self._roots = roots
        self.row_nbytes = 4 * sum(table.hidden_size for table in tables)

    @property
    def nbytes(self) -> int:
        return self._tables[0].capacity * self.row_nbytes

    def clear(self) -> None:
        for table in self._tables:
            table.clear()

    def reserve(self, row_count: int, *, max_rows: int | None, make_room: Callable[[int], None]) -> None:
        """Makes room for ``row_count`` rows in all; raises TableFullError, see `next_capacity`.

        ``make_room`` is called with the bytes about to be allocated.
        """
        old_capacity = self._tables[0].capacity
        if row_count <= old_capacity:
            return
        capacity = next_capacity(needed=row_count, capacity=old_capacity, max_rows=max_rows)
        make_room(capacity * self.row_nbytes)
        for table in self._tables:
            table.grow(capacity)
        if not old_capacity:
            for table, rows in zip(self._tables, self._roots, strict=False):
                table.rows[: len(rows)] = torch.from_numpy(rows).to(table.rows.device)


class ReplyScratch:
    """Warm memory for one large reply at a time; as large as the largest so far."""

    def __init__(self) -> None:
        self._floats = np.empty(0, np.float32)

    def view(self, shape: tuple[int, ...]) -> Float32[np.ndarray, "..."]:
        """Returns memory of this shape with arbitrary content."""
        size = math.prod(shape)
        if size > len(self._floats):
            self._floats = np.empty(0, np.float32)  # freed first: old and new never live together
            self._floats = np.empty(size, np.float32)
        return self._floats[:size].reshape(shape)
