"""The specification of a network: the key of its weights and states."""

import enum
import hashlib
from dataclasses import dataclass, field
from functools import lru_cache, partial

import numpy as np

from unrolled_server.array_types import Float32

_LOW_32_BITS = 0xFFFF_FFFF
RANDOM_WORD_SYMBOLS = 1 << 31
"""The symbols of networks with random word vectors: hashes of words."""


class Cell(enum.Enum):
    """The recurrent networks of torch.nn."""

    RNN = "rnn"
    LSTM = "lstm"
    GRU = "gru"


class Nonlinearity(enum.Enum):
    """The activation of a plain RNN."""

    TANH = "tanh"
    RELU = "relu"


GATES = {Cell.RNN: 1, Cell.LSTM: 4, Cell.GRU: 3}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NetworkSpec:
    """Everything that determines a network's parameters, and nothing else; names as in torch.nn.

    Attributes:
        symbol_count: Length of the alphabet; for word vectors see `WordVectors.symbol_count_of`, for random
            ones `RANDOM_WORD_SYMBOLS`.
        seed: Stored as its low 32 bits in two's complement, from which torch's CPU generator draws. (The page
            of torch.Generator.manual_seed has another formula for negative seeds, one off from torch 2.13.)
        proj_size: For an LSTM; 0 for none.
        embedding_size: Size of a torch.nn.Embedding drawn before the network, or of word vectors, random ones
            included; 0 for one-hot symbols.
        vectors: Digest of the network's word vectors; empty for none.
        spectral_radius: Largest absolute eigenvalue that the recurrent matrices are scaled to; 0 leaves them
            as drawn.
        leak_rate: Of a plain RNN: h' = (1 - leak_rate) * h + leak_rate * the activation; 1 for all others.
        input_scaling: What a plain RNN's input matrices are multiplied by.
        density: The probability with which each recurrent weight of a plain RNN is not set to 0.
        directions: 2 if bidirectional, else 1.
        state_size: Size of a layer's hidden state in one direction.
        output_size: Size of a layer's output: the states of all directions, side by side.
        rows_per_symbol: States that a symbol needs: one per direction, twice if layers above have rows of
            their own.
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
    vectors: str = ""
    bidirectional: bool = False
    spectral_radius: float = 0.0
    leak_rate: float = 1.0
    input_scaling: float = 1.0
    density: float = 1.0
    directions: int = field(init=False, repr=False)
    state_size: int = field(init=False, repr=False)
    output_size: int = field(init=False, repr=False)
    rows_per_symbol: int = field(init=False, repr=False)
    _key: tuple[object, ...] = field(init=False, repr=False)
    _hash: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Reduces the seed, and stores what a small request needs several times."""
        store = partial(object.__setattr__, self)
        if not 0 <= self.seed <= _LOW_32_BITS:
            store("seed", self.seed & _LOW_32_BITS)
        directions, state_size = 1 + self.bidirectional, self.proj_size or self.hidden_size
        store("directions", directions)
        store("state_size", state_size)
        store("output_size", directions * state_size)
        store("rows_per_symbol", directions << (self.bidirectional and self.num_layers > 1))
        key: tuple[object, ...] = (
            self.seed, self.symbol_count, self.hidden_size, self.cell._value_, self.nonlinearity._value_,
            self.num_layers, self.bias, self.proj_size, self.embedding_size, self.vectors,
            self.bidirectional, self.spectral_radius,
        )  # fmt: skip
        # Only where they are used: the digests of other networks are in states that clients stored.
        if not self.leak_rate == self.input_scaling == self.density == 1:
            key += (self.leak_rate, self.input_scaling, self.density)
        store("_key", key)
        store("_hash", hash(key))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NetworkSpec) and self._key == other._key

    def __hash__(self) -> int:
        return self._hash

    @property
    def input_size(self) -> int:
        return self.embedding_size or self.symbol_count

    @property
    def is_one_hot(self) -> bool:
        """Whether symbols are columns of W_ih."""
        return not self.embedding_size

    @property
    def has_random_words(self) -> bool:
        """Whether symbols are hashes of words; `random_numbers.word_vector` draws their vectors."""
        return self.symbol_count == RANDOM_WORD_SYMBOLS

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that identify the parameters, equal on every machine."""
        return hashlib.sha256(repr(self._key).encode()).hexdigest()[:16]

    @property
    def final_state_floats(self) -> int:
        """Floats of one word's h_n and c_n."""
        c_size = self.hidden_size if self.cell is Cell.LSTM else 0
        return self.num_layers * self.directions * (self.state_size + c_size)

    @property
    def embedding_floats(self) -> int:
        """Floats of the embedding that is drawn; 0 without one."""
        return 0 if self.vectors or self.has_random_words else self.symbol_count * self.embedding_size

    @property
    def parameter_nbytes(self) -> int:
        """Bytes of all parameters as torch stores them, the drawn embedding's included."""
        gates = GATES[self.cell] * self.hidden_size
        inputs = self.input_size + (self.num_layers - 1) * self.output_size  # of all layers
        biases = 2 * self.num_layers * self.bias
        floats = gates * (inputs + self.num_layers * self.state_size + biases)
        floats += self.num_layers * self.proj_size * self.hidden_size
        return 4 * (self.directions * floats + self.embedding_floats)


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


@lru_cache(maxsize=4096)
def plain_network(symbol_count: int, hidden_size: int, seed: int) -> NetworkSpec:
    """Returns the spec of the lesson's kind of network; cached, as making one costs as much as its words."""
    return NetworkSpec(symbol_count=symbol_count, hidden_size=hidden_size, seed=seed)
