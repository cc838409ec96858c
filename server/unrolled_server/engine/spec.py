"""Which network: everything that is drawn, and nothing else.

A file of its own because it is the key of weights and states: whoever holds one cares about nothing that is
asked of the network.
"""

import enum
import hashlib
from dataclasses import dataclass, field
from functools import lru_cache

_LOW_32_BITS = 0xFFFF_FFFF


class Cell(enum.Enum):
    """Which of torch.nn's recurrent networks."""

    RNN = "rnn"
    LSTM = "lstm"
    GRU = "gru"


class Nonlinearity(enum.Enum):
    """What a plain RNN does with its sums."""

    TANH = "tanh"
    RELU = "relu"


GATES = {Cell.RNN: 1, Cell.LSTM: 4, Cell.GRU: 3}


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
        symbol_count: Length of the alphabet; with word vectors see `WordVectors`.
        hidden_size: Units of each layer.
        seed: As given to ``torch.manual_seed``; kept as the 32 bits that count (see `drawn_seed`).
        cell: Which network of torch.nn.
        nonlinearity: Of a plain RNN.
        num_layers: As torch's.
        bias: As torch's.
        proj_size: As torch's, for an LSTM; 0 for none.
        embedding_size: Of a torch.nn.Embedding drawn before the network, or of word vectors; 0 for one-hot
            symbols.
        vectors: Digest of the word vectors that are fed to the network; empty for none.
        bidirectional: As torch's.
        spectral_radius: Largest absolute eigenvalue that the recurrent matrices are scaled to; 0 leaves them
            as drawn.
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
            self.vectors,
            self.bidirectional,
            self.spectral_radius,
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
    def directions(self) -> int:
        """In which a layer runs."""
        return 1 + self.bidirectional

    @property
    def state_size(self) -> int:
        """Of a layer's hidden state in one direction."""
        return self.proj_size or self.hidden_size

    @property
    def output_size(self) -> int:
        """Of what a layer puts out: the states of all directions, side by side."""
        return self.state_size << self.bidirectional

    @property
    def rows_per_symbol(self) -> int:
        """States that a symbol needs: of each direction, twice where layers above have rows of their own."""
        return self.directions << (self.bidirectional and self.num_layers > 1)

    @property
    def digest(self) -> str:
        """Names exactly what is drawn, in 16 hexadecimal digits, on every machine."""
        return hashlib.sha256(repr(self._key).encode()).hexdigest()[:16]

    @property
    def final_state_floats(self) -> int:
        """Of one word's h_n and c_n."""
        c_size = self.hidden_size if self.cell is Cell.LSTM else 0
        return self.num_layers * self.directions * (self.state_size + c_size)


@lru_cache(maxsize=4096)
def plain_network(symbol_count: int, hidden_size: int, seed: int) -> NetworkSpec:
    """Gives the spec of the lesson's kind of network, kept: making one costs as much as its known words."""
    return NetworkSpec(symbol_count=symbol_count, hidden_size=hidden_size, seed=seed)
