"""The interface of networks in one direction (one_way) and bidirectional ones (two_way)."""

from collections.abc import Callable
from functools import partial
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32, Int32

from unrolled_server.engine.job import InitialStates, Output, State
from unrolled_server.engine.layers import PlainLayer, StackedLayers, draw_layers, is_plain
from unrolled_server.engine.one_way import OneWay
from unrolled_server.engine.proof import Proof
from unrolled_server.engine.spec import NetworkSpec
from unrolled_server.engine.states import ReplyScratch
from unrolled_server.engine.two_way import TwoWay
from unrolled_server.engine.vector_rows import Vectors
from unrolled_server.engine.weights import draw_weights, padded_width
from unrolled_server.engine.words import EncodedWords

Index = Int32[np.ndarray, "batch seq *columns"]
"""Each letter's rows: one, or several columns; 0 past a word's end."""


@runtime_checkable
class Recurrence(Protocol):
    """Rows of states by prefix or word. Not thread-safe.

    ``row_nbytes`` is the cost of one more row, at most, in everything that grows with rows.
    """

    row_nbytes: int

    @property
    def nbytes(self) -> int:
        """Memory held beside weights."""

    @property
    def row_count(self) -> int:
        """Rows that were computed and are cached."""

    def clear(self) -> None:
        """Drops every row and gives the memory back; weights and initial states stay."""

    def compute_rows(
        self, words: EncodedWords, *, max_rows: int | None, make_room: Callable[[int], None]
    ) -> Index:
        """Returns each letter's rows, computing the states that are new.

        Raises TableFullError beyond ``max_rows`` rows; then it must be cleared.
        """

    def gather(self, index: Int32[np.ndarray, "..."], scratch: ReplyScratch) -> Float32[np.ndarray, "..."]:
        """Returns the last layer's outputs at some places, in fresh memory if small, else in the scratch."""

    def numbers(self, index: Index) -> Int32[np.ndarray, "batch seq"]:
        """Returns one number a letter, equal where the outputs are one; 0 past a word's end."""

    def pooled(
        self, index: Index, lengths: Int32[np.ndarray, " batch"], *, output: Output
    ) -> Float32[np.ndarray, "batch output"]:
        """Returns one vector per word; not for ``Output.ALL``."""

    def final_state(self, index: Index, lengths: Int32[np.ndarray, " batch"]) -> State:
        """Returns h_n, and c_n of an LSTM, in torch's order."""


MakeRecurrence = Callable[[InitialStates | None], Recurrence]
"""Makes a recurrence without rows, on weights that all of them share; words start at the given states."""


def draw_recurrence(
    spec: NetworkSpec, *, vectors: Vectors | None, proof: Proof, device: torch.device
) -> MakeRecurrence:
    """Draws a network's weights, with the vectors that its spec names; raises ProofError."""
    if is_plain(spec):
        stepper = proof.stepper(padded_width(spec.hidden_size))
        weights = draw_weights(spec, device)
        make_layer = partial(
            PlainLayer, weights, stepper=stepper, hidden_size=spec.hidden_size, device=device
        )
        return lambda starts: OneWay(spec, make_layer(), starts)
    drawn = draw_layers(spec, vectors=vectors, proof=proof, device=device)
    if spec.bidirectional:
        return lambda starts: TwoWay(spec, drawn.layers(), starts)
    return lambda starts: OneWay(spec, StackedLayers([layer for (layer,) in drawn.layers()]), starts)
