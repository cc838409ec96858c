"""The kind of network that a call asks for: its options, in torch's words, and the shapes that follow."""

import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Literal, NamedTuple, TypeAlias, TypedDict

Cell: TypeAlias = Literal["rnn", "lstm", "gru"]
Nonlinearity: TypeAlias = Literal["tanh", "relu"]
Output: TypeAlias = Literal["all", "last", "mean", "max"]
UnknownWord: TypeAlias = Literal["error", "zero", "mean"]


class NetworkOptions(TypedDict, total=False):
    """The options of every call besides words, size and seed, with torch's names. None is each one's default.

    Attributes:
        cell: torch.nn.RNN, LSTM or GRU. Default: "rnn".
        nonlinearity: Activation of a plain RNN. Default: "tanh".
        num_layers: Number of stacked layers. Default: 1.
        bidirectional: Whether each layer also reads each word backward; states are then twice as wide,
            forward direction first. Default: False.
        bias: Whether the layers have biases. Default: True.
        proj_size: Size that an LSTM's state is projected to. Default: 0, no projection.
        spectral_radius: Scales each recurrent matrix (or each gate's part of it) so that its largest absolute
            eigenvalue is this, above 0; for echo-state networks. Default: None, weights as drawn.
        embedding_size: Size of a torch.nn.Embedding of the alphabet, drawn from the same seed before the
            network. Default: None, which feeds one-hot symbols.
        vectors: Name of one of the server's tables of word vectors. Each entry of `words` is then a
            sentence, and its symbols are its words, as `str.split()` returns them. Default: None.
        unknown_word: With `vectors` only: what a word without a vector gets, which is the zero vector, the
            table's mean, or an error for the call. Default: None, which is "error".
        output: All states of the last layer, or one vector per word: its last state, or the mean or maximum
            of its states. Default: "all". With `bidirectional` the backward half of "last" has read only
            the last symbol, as in torch; that of `return_final_state` has read the whole word.
        return_final_state: Whether the result has every layer's last states. Default: False.
    """

    cell: Cell | None
    nonlinearity: Nonlinearity | None
    num_layers: int | None
    bidirectional: bool | None
    bias: bool | None
    proj_size: int | None
    spectral_radius: float | None
    embedding_size: int | None
    vectors: str | None
    unknown_word: UnknownWord | None
    output: Output | None
    return_final_state: bool | None


class Network(NamedTuple):
    """All options of a call's network; see `NetworkOptions`."""

    cell: Cell = "rnn"
    nonlinearity: Nonlinearity | None = None
    num_layers: int = 1
    bidirectional: bool = False
    bias: bool = True
    proj_size: int = 0
    spectral_radius: float | None = None
    embedding_size: int | None = None
    vectors: str | None = None
    unknown_word: UnknownWord | None = None
    output: Output = "all"
    return_final_state: bool = False

    @property
    def directions(self) -> int:
        """2 if bidirectional, else 1."""
        return 2 if self.bidirectional else 1

    @property
    def is_pooled(self) -> bool:
        """Whether the output is one vector per word."""
        return self.output != "all"

    @property
    def symbol_count(self) -> Callable[[str], int]:
        """Function that counts the symbols of an entry of `words`: code points, or words with `vectors`."""
        return len if self.vectors is None else _count_words

    def h_shape(self, hidden_size: int, *, batch: int) -> tuple[int, int, int]:
        """Returns the shape of h_n: (num_layers * directions, batch, hidden)."""
        return self.num_layers * self.directions, batch, self.proj_size or hidden_size

    def c_shape(self, hidden_size: int, *, batch: int) -> tuple[int, int, int] | None:
        """Returns the shape of an LSTM's c_n, (num_layers * directions, batch, hidden_size); else None."""
        return (self.num_layers * self.directions, batch, hidden_size) if self.cell == "lstm" else None

    def multiplications(self, hidden_size: int) -> int:
        """Returns about how many multiplications a symbol takes; the first layer's input is looked up."""
        matrices = self.num_layers + (self.num_layers - 1) * self.directions
        state = self.proj_size or hidden_size
        return _GATES[self.cell] * hidden_size * state * matrices * self.directions

    def key(self, hidden_size: int, *, seed: int, symbol_count: int) -> str:
        """Returns the network's key for load balancing, as docs/operate/load-balancing.md defines it."""
        return _key(self, hidden_size, seed & SEED_MASK, symbol_count)


DEFAULT_NETWORK = Network()
_GATES = {"rnn": 1, "lstm": 4, "gru": 3}
SEED_MASK = 2**32 - 1  # what torch's generator uses of a seed


@lru_cache(maxsize=4096)
def _key(network: Network, hidden_size: int, seed: int, symbol_count: int) -> str:
    # Cached: building a key costs ten times as much as finding it.
    options = {
        "nonlinearity": network.nonlinearity,
        "num_layers": network.num_layers if network.num_layers != 1 else None,
        "bidirectional": "true" if network.bidirectional else None,
        "bias": None if network.bias else "false",
        "proj_size": network.proj_size or None,
        "spectral_radius": network.spectral_radius and struct.pack(">d", network.spectral_radius).hex(),
        "random_size": network.embedding_size,
        "vectors": network.vectors and network.vectors.encode(errors="replace").hex(),
    }
    given = [f"{name}={value}" for name, value in options.items() if value is not None]
    return "/".join([network.cell, f"{hidden_size}", f"{seed}", f"{symbol_count}", *given])


def _count_words(sentence: str) -> int:
    return len(sentence.split())
