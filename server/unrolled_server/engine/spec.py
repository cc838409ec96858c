"""What is asked and what is answered: the values that cross the engine's door.

A file of its own because the batcher and the service hold these values without caring how they are computed.
"""

import enum
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int32

from unrolled_server.engine.alphabet import EncodedWords

_LOW_32_BITS = 0xFFFF_FFFF
_UNLIMITED = 1 << 62


class Layout(enum.Enum):
    """Along which axis of (words, letters) the network recurs."""

    BATCH_FIRST = "batch_first"
    SEQ_FIRST = "seq_first"


class ReplyForm(enum.Enum):
    """How an answer carries its states."""

    DENSE = "dense"
    DISTINCT = "distinct"


class AnswerTooLargeError(ValueError):
    """The answer has more bytes than its job allows."""


def drawn_seed(seed: int) -> int:
    """Gives the 32 bits of ``seed`` that torch's CPU generator draws from.

    Torch takes an int64 as its two's complement and seeds its Mersenne twister with the low 32 bits; seeds
    that agree in those are one network. (The page of torch.Generator.manual_seed gives another formula for
    negative seeds, one off from what torch 2.13 does.)

    >>> drawn_seed(2**32 + 7), drawn_seed(-1)
    (7, 4294967295)
    """
    return seed & _LOW_32_BITS


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSpec:
    """Everything that is drawn, and nothing else: the key of weights and states.

    Attributes:
        input_size: Length of the alphabet.
        hidden_size: Units of the layer.
        seed: As given to ``torch.manual_seed``; kept as the 32 bits that count (see `drawn_seed`).
    """

    input_size: int
    hidden_size: int
    seed: int

    def __post_init__(self) -> None:
        if not 0 <= self.seed <= _LOW_32_BITS:
            object.__setattr__(self, "seed", drawn_seed(self.seed))


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One validated request.

    Attributes:
        network: What to run.
        words: The letters, checked against an alphabet of ``network.input_size`` symbols.
        layout: ``SEQ_FIRST`` needs words of one length.
        form: ``DISTINCT`` sends each state once.
        max_reply_bytes: Of a distinct answer, whose size shows only when its prefixes are known.
    """

    network: NetworkSpec
    words: EncodedWords
    layout: Layout = Layout.BATCH_FIRST
    form: ReplyForm = ReplyForm.DENSE
    max_reply_bytes: int = _UNLIMITED

    @property
    def multiplications(self) -> int:
        """Of floats, if none of the prefixes is known."""
        rows = self.words.letter_count
        if self.form is ReplyForm.DISTINCT:
            rows = min(rows, self.max_distinct)
        return rows * self.network.hidden_size**2

    @property
    def reply_bytes(self) -> int:
        """Of the answer's values and index, at most."""
        if self.form is ReplyForm.DENSE:
            return 4 * self.position_count * self.network.hidden_size
        rows = 1 + min(self.words.letter_count, self.max_distinct)
        return 4 * (self.position_count + rows * self.network.hidden_size)

    @property
    def position_count(self) -> int:
        """Of the answer, padding included: batch x seq."""
        words = self.words.words
        return len(words) * max(map(len, words))

    @property
    def max_distinct(self) -> int:
        """The most states that a distinct answer may have beside the zero state."""
        return (self.max_reply_bytes // 4 - self.position_count) // self.network.hidden_size - 1

    @property
    def may_be_too_large(self) -> bool:
        """Whether only its prefixes tell that the answer is allowed."""
        return self.form is ReplyForm.DISTINCT and self.words.letter_count > self.max_distinct


@dataclass(frozen=True, slots=True)
class Answer:
    """The hidden states of one job.

    Attributes:
        values: float32, C-contiguous: (batch, seq, hidden), zero past a word's end, or in the distinct form
            (rows, hidden) with row 0 all zeros. The memory is borrowed: it is overwritten when the next
            answer is taken from the engine, so copy or send it before.
        lengths: int32, letters of each word.
        index: In the distinct form, the row of each position, numbered by first appearance in row-major
            order; the dense values are ``values[index]``.
    """

    values: Float32[np.ndarray, "*rows hidden"]
    lengths: Int32[np.ndarray, " batch"]
    index: Int32[np.ndarray, "batch seq"] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the dense values: (batch, seq, hidden)."""
        return self.values.shape if self.index is None else (*self.index.shape, self.values.shape[1])
