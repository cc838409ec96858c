"""What is asked and what is answered: the values that cross the engine's door.

A file of its own because the batcher and the service hold these values without caring how they are computed.
"""

import enum
import hashlib
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from jaxtyping import Float32, Int32

from unrolled_server.engine.words import EncodedWords

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


class Cell(enum.Enum):
    """Which of torch.nn's recurrent networks."""

    RNN = "rnn"
    LSTM = "lstm"
    GRU = "gru"


class Nonlinearity(enum.Enum):
    """What a plain RNN does with its sums."""

    TANH = "tanh"
    RELU = "relu"


class Output(enum.Enum):
    """What is sent of the last layer's states: all, or one vector for each word."""

    ALL = "all"
    LAST = "last"
    MEAN = "mean"
    MAX = "max"


GATES = {Cell.RNN: 1, Cell.LSTM: 4, Cell.GRU: 3}


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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NetworkSpec:
    """Everything that is drawn, and nothing else: the key of weights and states.

    Attributes:
        symbol_count: Length of the alphabet.
        hidden_size: Units of each layer.
        seed: As given to ``torch.manual_seed``; kept as the 32 bits that count (see `drawn_seed`).
        cell: Which network of torch.nn.
        nonlinearity: Of a plain RNN.
        num_layers: As torch's.
        bias: As torch's.
        proj_size: As torch's, for an LSTM; 0 for none.
        embedding_size: Of a torch.nn.Embedding drawn before the network; 0 for one-hot symbols.
    """

    symbol_count: int
    hidden_size: int
    seed: int
    cell: Cell = Cell.RNN
    nonlinearity: Nonlinearity = Nonlinearity.TANH
    num_layers: int = 1
    bias: bool = True
    proj_size: int = 0
    embedding_size: int = 0
    _key: tuple[object, ...] = field(init=False, repr=False)
    _hash: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Keeps the seed's bits, and the hash, which a small request asks for several times."""
        if not 0 <= self.seed <= _LOW_32_BITS:
            object.__setattr__(self, "seed", drawn_seed(self.seed))
        key = (
            self.seed,
            self.symbol_count,
            self.hidden_size,
            self.cell._value_,
            self.nonlinearity._value_,
            self.num_layers,
            self.bias,
            self.proj_size,
            self.embedding_size,
        )
        object.__setattr__(self, "_key", key)
        object.__setattr__(self, "_hash", hash(key))

    def __eq__(self, other: object) -> bool:
        """As of a tuple of all that is drawn."""
        return isinstance(other, NetworkSpec) and self._key == other._key

    def __hash__(self) -> int:
        return self._hash

    @property
    def input_size(self) -> int:
        """Features that go into layer 0."""
        return self.embedding_size or self.symbol_count

    @property
    def is_one_hot(self) -> bool:
        """Whether symbols are drawn as columns of W_ih."""
        return not self.embedding_size

    @property
    def state_size(self) -> int:
        """Of a layer's hidden state."""
        return self.proj_size or self.hidden_size

    @property
    def digest(self) -> str:
        """Names exactly what is drawn, in 16 hexadecimal digits, on every machine."""
        return hashlib.sha256(repr(self._key).encode()).hexdigest()[:16]

    @property
    def final_state_floats(self) -> int:
        """Of one word's h_n and c_n."""
        c_size = self.hidden_size if self.cell is Cell.LSTM else 0
        return self.num_layers * (self.state_size + c_size)


@lru_cache(maxsize=4096)
def plain_network(symbol_count: int, hidden_size: int, seed: int) -> NetworkSpec:
    """Gives the spec of the lesson's kind of network, kept: making one costs as much as its known words."""
    return NetworkSpec(symbol_count=symbol_count, hidden_size=hidden_size, seed=seed)


@lru_cache(maxsize=1024)
def _multiplications_per_symbol(spec: NetworkSpec) -> int:
    """Of one position's step through all layers; input rows are looked up."""
    columns = GATES[spec.cell] * spec.hidden_size
    recurrent = spec.state_size * columns + spec.hidden_size * spec.proj_size
    inputs = (spec.num_layers - 1) * spec.state_size * columns
    return spec.num_layers * recurrent + inputs


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """Where each word's recurrence stands, in torch's shapes and order.

    Attributes:
        h: Of every layer.
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
    """

    network: NetworkSpec
    words: EncodedWords
    layout: Layout = Layout.BATCH_FIRST
    form: ReplyForm = ReplyForm.DENSE
    max_reply_bytes: int = _UNLIMITED
    output: Output = Output.ALL
    return_final_state: bool = False

    @property
    def multiplications(self) -> int:
        """Of floats, if none of the prefixes is known."""
        network, rows = self.network, self.words.letter_count
        count = 0
        if not network.is_one_hot:
            columns = GATES[network.cell] * network.hidden_size
            count = min(rows, network.symbol_count) * network.input_size * columns
        if self.form is ReplyForm.DISTINCT and self.output is Output.ALL:
            rows = max(0, min(rows, self.max_distinct))
        return count + rows * _multiplications_per_symbol(network)

    @property
    def reply_bytes(self) -> int:
        """Of the answer's values, index and final state, at most."""
        vectors, size = self.vector_count, self.network.state_size
        if self.form is ReplyForm.DENSE:
            return 4 * (vectors * size + self._final_state_floats)
        rows = 1 + min(self._max_different, self.max_distinct)
        return 4 * (vectors + rows * size + self._final_state_floats)

    @property
    def min_reply_bytes(self) -> int:
        """Of a distinct answer, if all its states are one."""
        return 4 * (self.vector_count + 2 * self.network.state_size + self._final_state_floats)

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
        return floats // self.network.state_size - 1

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
