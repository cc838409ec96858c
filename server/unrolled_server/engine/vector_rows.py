"""Layer 0's inputs if symbols stand for vectors: those of a torch.nn.Embedding, or of words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from unrolled_server.engine.cells import RowCounts
from unrolled_server.engine.gated_scratch import Room
from unrolled_server.engine.gates import LayerWeights
from unrolled_server.engine.inputs import Inputs, look_up, multiply
from unrolled_server.engine.prefix_tree import Step, Symbols
from unrolled_server.engine.states import StateTable

_DICT_ENTRY_NBYTES = 120  # an int key, an int value and their dict entry, measured


@runtime_checkable
class Vectors(Protocol):
    """A vector of ``size`` floats for each symbol."""

    @property
    def size(self) -> int:
        """Values of a vector."""

    def take(self, symbols: Int64[np.ndarray, " n"]) -> Float32[np.ndarray, "n size"]:
        """Returns the symbols' vectors."""


class DrawnVectors:
    """The vectors of a torch.nn.Embedding."""

    def __init__(self, embedding: Float32[Tensor, "symbols size"]) -> None:
        self._rows: Float32[np.ndarray, "symbols size"] = embedding.numpy()
        self.size: int = self._rows.shape[1]

    def take(self, symbols: Int64[np.ndarray, " n"]) -> Float32[np.ndarray, "n size"]:
        return self._rows.take(symbols, axis=0)


@dataclass(frozen=True, slots=True, eq=False)
class WordVectors:
    """Vectors of words, possibly memory-mapped; two more symbols follow the words': zero's, then the mean's.

    The digest identifies words and vectors.
    """

    digest: str
    rows: Float32[np.ndarray, "words size"]
    mean: Float32[np.ndarray, " size"]

    @property
    def size(self) -> int:
        return int(self.rows.shape[1])

    @staticmethod
    def symbol_count_of(word_count: int) -> int:
        """Returns the number of symbols: the words and the two others."""
        return word_count + 2

    def take(self, symbols: Int64[np.ndarray, " n"]) -> Float32[np.ndarray, "n size"]:
        vectors = np.zeros((len(symbols), self.size), np.float32)
        is_word = symbols < len(self.rows)
        vectors[is_word] = self.rows[symbols[is_word]]
        vectors[symbols == len(self.rows) + 1] = self.mean
        return vectors


class ProductShape(NamedTuple):
    """A product of vectors with input weights; one proof and one scratch serve all of a shape.

    ``inputs`` are the columns of the vectors, padded, and ``gates`` those of the sums.
    """

    inputs: int
    gates: int


class ProductScratch:
    """The memory for products of one shape. Not thread-safe."""

    def __init__(self, shape: ProductShape, *, rule: RowCounts, device: torch.device) -> None:
        self.rule = rule
        self._lower = torch.zeros(rule.max_rows, shape.inputs, device=device)
        self._sums = torch.zeros(rule.max_rows, shape.gates, device=device)
        self._size = shape.inputs

    def sums_of(
        self, vectors: Float32[np.ndarray, "n size"], weights: LayerWeights
    ) -> Float32[Tensor, "n gates"]:
        """Returns what the vectors add to the gates, in memory that the next call overwrites.

        There are at most ``rule.max_rows`` vectors; of the weights ``inputs`` and ``bias`` are used.
        """
        count, size = vectors.shape
        if size != self._size:
            self._lower.zero_()  # no padding may hold what longer vectors left there
            self._size = size
        padded = self.rule.padded(count)
        self._lower[:count, :size] = torch.from_numpy(vectors)
        multiply(self._lower[:padded], weights, out=self._sums[:padded])
        return self._sums[:count]


class VectorRows(Inputs):
    """Vectors: each symbol's row of gates is computed once, when it first occurs.

    So 400,000 word vectors are never multiplied out, and equal symbols are multiplied once. Not thread-safe.
    """

    def __init__(
        self, vectors: Vectors, weights: LayerWeights, *, scratch: ProductScratch, device: torch.device
    ) -> None:
        self._vectors = vectors
        self._weights = weights
        self._scratch = scratch
        self._rows = StateTable(weights.shape.gates, device)
        self._row_of: dict[int, int] = {}

    @property
    def nbytes(self) -> int:
        """See `Inputs`; an estimate of the dict's is included."""
        return self._rows.nbytes + _DICT_ENTRY_NBYTES * len(self._row_of)

    @property
    def row_nbytes(self) -> int:
        """See `Inputs`; a row may bring a new symbol."""
        return 4 * self._rows.hidden_size + _DICT_ENTRY_NBYTES

    def clear(self) -> None:
        self._rows.clear()
        self._row_of.clear()

    def prepare(self, steps: Sequence[Step]) -> None:
        """Computes the rows of symbols that are new."""
        symbols = np.unique(np.concatenate([np.asarray(step.symbols, np.int64) for step in steps]))
        new = [symbol for symbol in symbols.tolist() if symbol not in self._row_of]
        known_count = len(self._row_of)
        if known_count + len(new) > self._rows.capacity:
            self._rows.grow(max(known_count + len(new), self._rows.capacity * 3 // 2))
        for start in range(0, len(new), self._scratch.rule.max_rows):
            part = new[start : start + self._scratch.rule.max_rows]
            first = len(self._row_of)
            sums = self._scratch.sums_of(self._vectors.take(np.array(part, np.int64)), self._weights)
            self._rows.rows[first : first + len(part)] = sums
            self._row_of.update(zip(part, range(first, first + len(part)), strict=True))

    def fill(self, room: Room, rows: slice, symbols: Symbols) -> None:  # noqa: ARG002 - Inputs' signature
        row_of = self._row_of
        places = [row_of[symbol] for symbol in np.asarray(symbols).tolist()]
        if self._rows.is_on_cpu:
            self._rows.rows_on_cpu.take(places, 0, room.input_rows, "clip")
        else:
            look_up(self._rows.rows, places, out=room.block.sums[: room.row_count])
