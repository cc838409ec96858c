"""What a network does with words: which rows their letters have, and what is read of those.

A file of its own because two things stand in for it: networks that run in one direction, on a tree of
prefixes (one_way), and bidirectional ones (two_way).
"""

from collections.abc import Callable
from functools import partial
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32, Int32

from unrolled_server.engine.job import Output, State
from unrolled_server.engine.layers import PlainLayer, StackedLayers, draw_layers, is_plain
from unrolled_server.engine.one_way import OneWay
from unrolled_server.engine.proof import Proof
from unrolled_server.engine.spec import NetworkSpec
from unrolled_server.engine.starts import Starts
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

    Attributes:
        row_nbytes: What one more row costs at most, in everything that grows with rows.
    """

    row_nbytes: int

    @property
    def nbytes(self) -> int:
        """Memory held beside weights."""

    @property
    def row_count(self) -> int:
        """Rows that were computed and are known."""

    def clear(self) -> None:
        """Starts anew: forgets every row and gives the memory back; weights and given states stay."""

    def learn(self, words: EncodedWords, *, max_rows: int | None, make_room: Callable[[int], None]) -> Index:
        """Gives each letter's rows, computing the states that are new.

        Raises:
            TableFullError: More than ``max_rows`` rows; clear it.
        """

    def gather(self, index: Int32[np.ndarray, "..."], scratch: ReplyScratch) -> Float32[np.ndarray, "..."]:
        """Gives the last layer's outputs at some places, in fresh memory where small, else in the scratch."""

    def numbers(self, index: Index) -> Int32[np.ndarray, "batch seq"]:
        """Gives one number a letter, equal where the outputs are one; 0 past a word's end."""

    def pooled(
        self, index: Index, lengths: Int32[np.ndarray, " batch"], *, output: Output
    ) -> Float32[np.ndarray, "batch output"]:
        """Gives one vector for each word; not ``Output.ALL``."""

    def final_state(self, index: Index, lengths: Int32[np.ndarray, " batch"]) -> State:
        """Gives h_n, and c_n of an LSTM, in torch's order."""


MakeRecurrence = Callable[[Starts | None], Recurrence]
"""Gives a recurrence without rows, on weights that all of them share; words start at the given states."""


def draw_recurrence(
    spec: NetworkSpec, *, vectors: Vectors | None, proof: Proof, device: torch.device
) -> MakeRecurrence:
    """Draws a network's weights.

    Args:
        spec: What to draw.
        vectors: Those that the spec names, if it does.
        proof: Gives the steppers.
        device: Where weights and states lie.

    Raises:
        ProofError: This machine can't keep the bits promise for the network's shape.
    """
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
