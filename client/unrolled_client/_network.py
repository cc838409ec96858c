"""What kind of network a call asks for, in torch's words.

A file of its own because every call takes these options: they are named, typed and checked in one place.
"""

import math
import operator
import struct
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Literal, NamedTuple, TypeAlias, TypedDict

from unrolled.v1 import forward_pb2 as pb

from unrolled_client.errors import FieldViolation, InvalidRequestError

Cell: TypeAlias = Literal["rnn", "lstm", "gru"]
Nonlinearity: TypeAlias = Literal["tanh", "relu"]
Output: TypeAlias = Literal["all", "last", "mean", "max"]
UnknownWord: TypeAlias = Literal["error", "zero", "mean"]


class NetworkOptions(TypedDict, total=False):
    """The options of every call beside words, sizes and seed; torch's names, and torch's defaults.

    Attributes:
        cell: torch.nn.RNN, LSTM or GRU. Default: "rnn".
        nonlinearity: Of a plain RNN. Default: "tanh".
        num_layers: Layers, each upon the one before. Default: 1.
        bidirectional: Whether each layer also runs from the end of each word to its start; states are then
            twice as wide, forward direction first. Default: False.
        bias: Whether the layers have biases. Default: True.
        proj_size: Size that an LSTM's state is projected to. Default: 0, which is none.
        spectral_radius: The largest absolute eigenvalue that each recurrent matrix, or an LSTM's or GRU's
            gate of it, is scaled to, above 0; for echo-state networks. Default: None, which is as drawn.
        embedding_size: Size of a torch.nn.Embedding of the alphabet, drawn from the same seed before the
            network. Default: None, which feeds one-hot symbols.
        vectors: Name of one of the server's tables of word vectors. Then each entry of `words` is a
            sentence, and its symbols are its words: what `str.split()` gives, taken as it is. Default: None.
        unknown_word: What a word without a vector gets, with `vectors` only: the zero vector, the mean of
            the table's, or the call fails. Default: None, which is "error".
        output: All states of the last layer, or one vector a word: its last state, or the mean or the
            largest of its states. Default: "all".
        return_final_state: Whether the result has every layer's last states. Default: False.
    """

    cell: Cell
    nonlinearity: Nonlinearity
    num_layers: int
    bidirectional: bool
    bias: bool
    proj_size: int
    spectral_radius: float | None
    embedding_size: int | None
    vectors: str | None
    unknown_word: UnknownWord | None
    output: Output
    return_final_state: bool


class Network(NamedTuple):
    """A call's options, all of them; see `NetworkOptions`."""

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
        """How many ways each layer runs: 1 or 2."""
        return 2 if self.bidirectional else 1

    @property
    def is_pooled(self) -> bool:
        """Whether the outputs are one vector a word."""
        return self.output != "all"

    @property
    def symbol_count(self) -> Callable[[str], int]:
        """Counts the symbols of one of `words`: its code points, or with `vectors` its words."""
        return len if self.vectors is None else _count_words

    def h_shape(self, hidden_size: int, *, batch: int) -> tuple[int, int, int]:
        """The shape of h_n: (num_layers * directions, batch, hidden)."""
        return self.num_layers * self.directions, batch, self.proj_size or hidden_size

    def c_shape(self, hidden_size: int, *, batch: int) -> tuple[int, int, int] | None:
        """The shape of an LSTM's c_n: (num_layers * directions, batch, hidden_size); else None."""
        return (self.num_layers * self.directions, batch, hidden_size) if self.cell == "lstm" else None

    def multiplications(self, hidden_size: int) -> int:
        """Of floats for one symbol, about; what is fed to the first layer is looked up."""
        matrices = self.num_layers + (self.num_layers - 1) * self.directions
        state = self.proj_size or hidden_size
        return _GATES[self.cell] * hidden_size * state * matrices * self.directions

    def key(self, hidden_size: int, *, seed: int, symbol_count: int) -> str:
        """Names what is drawn, for `NETWORK_HEADER`: as docs/spreading.md says, whatever the language."""
        return _key(self, hidden_size, operator.index(seed) & SEED_MASK, symbol_count)

    def write(self, message: pb.ForwardRequest) -> None:
        """Puts what differs from the defaults into a request."""
        network = message.network  # of which nothing is sent until something is set
        if self.cell != "rnn":
            network.cell = _CELLS[self.cell]
        if self.nonlinearity is not None:
            network.nonlinearity = _NONLINEARITIES[self.nonlinearity]
        if self.num_layers != 1:
            network.num_layers = self.num_layers
        if self.bidirectional:
            network.bidirectional = True
        if not self.bias:
            network.bias = False
        if self.proj_size:
            network.proj_size = self.proj_size
        if self.spectral_radius is not None:
            network.spectral_radius = self.spectral_radius
        self._write_embedding(message)
        message.output = _OUTPUTS[self.output]
        message.return_final_state = self.return_final_state

    def _write_embedding(self, message: pb.ForwardRequest) -> None:
        if self.embedding_size is not None:
            message.embedding.random_size = self.embedding_size
        if self.vectors is not None:
            message.embedding.vectors = self.vectors
        if self.unknown_word is not None:
            message.embedding.unknown_word = _UNKNOWN_WORDS[self.unknown_word]


DEFAULT_NETWORK = Network()
_GATES = {"rnn": 1, "lstm": 4, "gru": 3}
_CELLS = {"rnn": pb.CELL_RNN, "lstm": pb.CELL_LSTM, "gru": pb.CELL_GRU}
_NONLINEARITIES = {"tanh": pb.NONLINEARITY_TANH, "relu": pb.NONLINEARITY_RELU}
_OUTPUTS = {
    "all": pb.OUTPUT_UNSPECIFIED,
    "last": pb.OUTPUT_LAST,
    "mean": pb.OUTPUT_MEAN,
    "max": pb.OUTPUT_MAX,
}
_UNKNOWN_WORDS = {
    "error": pb.UNKNOWN_WORD_ERROR,
    "zero": pb.UNKNOWN_WORD_ZERO,
    "mean": pb.UNKNOWN_WORD_MEAN,
}
_CHOICES: dict[str, Mapping[str, int]] = {
    "cell": _CELLS,
    "nonlinearity": _NONLINEARITIES,
    "unknown_word": _UNKNOWN_WORDS,
    "output": _OUTPUTS,
}
_COUNTS = ("num_layers", "proj_size", "embedding_size")
_DEFAULTS_SPELLED_OUT = {"nonlinearity": "tanh", "unknown_word": "error"}
_MAX_INT32 = 2**31 - 1
SEED_MASK = 2**32 - 1  # what torch's generator uses of a seed


@lru_cache(maxsize=4096)
def _key(network: Network, hidden_size: int, seed: int, symbol_count: int) -> str:
    """Kept, because making one costs ten times as much as finding it."""
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


def check_network(options: NetworkOptions) -> Network:
    """The network of a call's options.

    Raises:
        TypeError: There is no such option, or a number is none.
        InvalidRequestError: A value that the contract cannot carry; what it means is for the server to judge.
    """
    if not options:
        return DEFAULT_NETWORK
    given: dict[str, Any] = dict(options)
    unknown = given.keys() - NetworkOptions.__annotations__.keys()
    if unknown:
        known = ", ".join(NetworkOptions.__annotations__)
        raise TypeError(f"there is no option {min(unknown)!r}; the network's options are {known}")
    for name, choices in _CHOICES.items():
        if given.get(name) is not None and given[name] not in choices:
            raise invalid(name, f"{name} is {given[name]!r}; it must be one of {', '.join(choices)}")
    for name in _COUNTS:
        if given.get(name) is not None:
            given[name] = _count(name, given[name])
    if given.get("spectral_radius") is not None:
        given["spectral_radius"] = _radius(given["spectral_radius"])
    _check_input(given)
    for name, default in _DEFAULTS_SPELLED_OUT.items():
        if given.get(name) == default:
            del given[name]
    network = Network(**given)
    return DEFAULT_NETWORK if network == DEFAULT_NETWORK else network


def invalid(field: str, description: str) -> InvalidRequestError:
    """The error for one broken rule of a request."""
    return InvalidRequestError(
        description, violations=(FieldViolation(field=field, description=description),)
    )


def _check_input(given: Mapping[str, Any]) -> None:
    """What is fed to the network: one thing, and nothing said of another."""
    vectors = given.get("vectors")
    if vectors is None:
        if given.get("unknown_word") is not None:
            raise invalid("unknown_word", "unknown_word is for word vectors; name their table with vectors=")
        return
    if not isinstance(vectors, str):
        raise TypeError(f"vectors is {type(vectors).__name__}; pass the name of one of the server's tables")
    if not vectors:
        raise invalid("vectors", "vectors is ''; name one of the server's tables, which server_info() lists")
    if given.get("embedding_size") is not None:
        raise invalid(
            "vectors",
            f"vectors is {vectors!r} and embedding_size is {given['embedding_size']}; words are fed as one "
            "or the other; leave one out",
        )


def _count(name: str, value: int) -> int:
    number = operator.index(value)
    if not 0 <= number <= _MAX_INT32:
        raise invalid(name, f"{name} is {number}; it must be from 0 to {_MAX_INT32}")
    return number


def _radius(value: float) -> float:
    if not (math.isfinite(value) and value > 0):  # a str is a TypeError
        raise invalid("spectral_radius", f"spectral_radius is {value}; it must be a number above 0")
    return float(value)


def _count_words(sentence: str) -> int:
    return len(sentence.split())
