"""What is asked and what is answered: the values that cross the engine's door.

A file of its own because the batcher and the service hold these values without caring how they are computed.
"""

import enum
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float32, Int32

from unrolled_server.engine.spec import GATES, NetworkSpec
from unrolled_server.engine.words import EncodedWords

_UNLIMITED = 1 << 62


class Layout(enum.Enum):
    """Along which axis of (words, letters) the network recurs."""

    BATCH_FIRST = "batch_first"
    SEQ_FIRST = "seq_first"


class ReplyForm(enum.Enum):
    """How an answer carries its states."""

    DENSE = "dense"
    DISTINCT = "distinct"


class Output(enum.Enum):
    """What is sent of the last layer's states: all, or one vector for each word."""

    ALL = "all"
    LAST = "last"
    MEAN = "mean"
    MAX = "max"


class AnswerTooLargeError(ValueError):
    """The answer has more bytes than its job allows."""


class NotWantedError(Exception):
    """Nothing was computed for a job, because nobody waits for its answer any more."""


@lru_cache(maxsize=1024)
def _multiplications_per_symbol(spec: NetworkSpec) -> int:
    """Of one position's step through all layers and directions; input rows are looked up."""
    columns = GATES[spec.cell] * spec.hidden_size
    recurrent = spec.state_size * columns + spec.hidden_size * spec.proj_size
    inputs = (spec.num_layers - 1) * spec.output_size * columns
    return spec.directions * (spec.num_layers * recurrent + inputs)


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """Where each word's recurrence stands, in torch's shapes and order.

    Attributes:
        h: Of every layer, its forward direction before its backward one.
        c: Likewise, for an LSTM; else None.
    """

    h: Float32[np.ndarray, "layers batch state"]
    c: Float32[np.ndarray, "layers batch hidden"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One validated request.

    Attributes:
        network: What to run.
        words: The symbols, each below ``network.symbol_count``.
        layout: ``SEQ_FIRST`` needs words of one length, and ``Output.ALL``.
        form: ``DISTINCT`` sends each state once.
        max_reply_bytes: Of a distinct answer, whose size shows only when its prefixes are known.
        output: What is sent of the last layer.
        return_final_state: Whether the answer has h_n and c_n.
        initial_state: Where each word's recurrence starts; None for zeros. With ``SEQ_FIRST`` it is of each
            position, as torch's.
    """

    network: NetworkSpec
    words: EncodedWords
    layout: Layout = Layout.BATCH_FIRST
    form: ReplyForm = ReplyForm.DENSE
    max_reply_bytes: int = _UNLIMITED
    output: Output = Output.ALL
    return_final_state: bool = False
    initial_state: State | None = None

    @property
    def multiplications(self) -> int:
        """Of floats, if none of the prefixes is known."""
        network, rows = self.network, self.words.letter_count
        count = 0
        if not network.is_one_hot:
            columns = GATES[network.cell] * network.hidden_size * network.directions
            count = min(rows, network.symbol_count) * network.input_size * columns
        if self.form is ReplyForm.DISTINCT and self.output is Output.ALL:
            rows = max(0, min(rows, self.max_distinct))
        return count + rows * _multiplications_per_symbol(network)

    @property
    def reply_bytes(self) -> int:
        """Of the answer's values, index and final state, at most."""
        vectors, size = self.vector_count, self.network.output_size
        if self.form is ReplyForm.DENSE:
            return 4 * (vectors * size + self._final_state_floats)
        rows = 1 + min(self._max_different, self.max_distinct)
        return 4 * (vectors + rows * size + self._final_state_floats)

    @property
    def min_reply_bytes(self) -> int:
        """Of a distinct answer, if all its states are one."""
        return 4 * (self.vector_count + 2 * self.network.output_size + self._final_state_floats)

    @property
    def places(self) -> tuple[int, ...]:
        """Where the answer has a vector: (batch, seq), or pooled (batch,)."""
        words = self.words
        return (len(words), words.max_length) if self.output is Output.ALL else (len(words),)

    @property
    def position_count(self) -> int:
        """Of the words, padding included: batch x seq."""
        return len(self.words) * self.words.max_length

    @property
    def vector_count(self) -> int:
        """Of the answer: one for each position, or, pooled, for each word."""
        return self.position_count if self.output is Output.ALL else len(self.words)

    @property
    def max_distinct(self) -> int:
        """The most states that a distinct answer may have beside the zero state."""
        floats = self.max_reply_bytes // 4 - self.vector_count - self._final_state_floats
        return floats // self.network.output_size - 1

    @property
    def may_be_too_large(self) -> bool:
        """Whether only its prefixes tell that the answer is allowed."""
        return self.form is ReplyForm.DISTINCT and self._max_different > self.max_distinct

    @property
    def _max_different(self) -> int:
        """The most different states that such words can have."""
        return self.words.letter_count if self.output is Output.ALL else len(self.words)

    @property
    def _final_state_floats(self) -> int:
        """Of the answer's h_n and c_n."""
        if not self.return_final_state:
            return 0
        batch = len(self.words) if self.layout is Layout.BATCH_FIRST else self.words.max_length
        return batch * self.network.final_state_floats


@dataclass(frozen=True, slots=True)
class Answer:
    """The outputs of one job.

    Attributes:
        values: float32, C-contiguous: (batch, seq, output), zero past a word's end, or pooled (batch,
            output), or in the distinct form (rows, output) with row 0 all zeros. The memory is borrowed: it
            is overwritten when the next answer is taken from the engine, so copy or send it before.
        lengths: int32, symbols of each word.
        index: In the distinct form, the row of each position (pooled: of each word), numbered by first
            appearance in row-major order; the dense values are ``values[index]``.
        final_state: h_n and c_n where the job asks for them; not borrowed.
    """

    values: Float32[np.ndarray, "*rows output"]
    lengths: Int32[np.ndarray, " batch"]
    index: Int32[np.ndarray, " batch"] | Int32[np.ndarray, "batch seq"] | None = None
    final_state: State | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the dense values: (batch, seq, output), or pooled (batch, output)."""
        return self.values.shape if self.index is None else (*self.index.shape, self.values.shape[1])
