"""What a computation is: the values that everything else in the engine is keyed by."""

import enum
from dataclasses import dataclass, field

from unrolled_server.engine.alphabet import EncodedWords

SEED_MASK = 0xFFFF_FFFF
"""Torch's CPU generator is seeded with the low 32 bits of a seed; seeds that share them are one network."""


class Layout(enum.Enum):
    """Which axis of the (batch, seq, hidden) array the network runs along."""

    BATCH_FIRST = "batch_first"
    SEQ_FIRST = "seq_first"


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSpec:
    """Everything that decides a network's drawn parameters, and nothing else.

    Attributes:
        input_size: Symbols of the alphabet. Letters play no part: a symbol is its index.
        hidden_size: Units of the hidden state.
        seed: Any int64, kept as its low 32 bits.
    """

    input_size: int
    hidden_size: int
    seed: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed", self.seed & SEED_MASK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One validated request: words for one network."""

    network: NetworkSpec
    words: EncodedWords
    layout: Layout = field(default=Layout.BATCH_FIRST)
