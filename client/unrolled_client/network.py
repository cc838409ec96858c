"""The kind of network that a call asks for, in torch's words: its options, their types and checks."""

import math
import struct
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any, Literal, NamedTuple, TypeAlias, TypedDict

from unrolled.v1 import forward_pb2 as pb

from unrolled_client._messages.arguments import (
    as_bool,
    as_choice,
    as_count,
    as_number,
    invalid,
    unknown_argument,
    wrong_type,
)

Cell: TypeAlias = Literal["rnn", "lstm", "gru"]
Nonlinearity: TypeAlias = Literal["tanh", "relu"]
Output: TypeAlias = Literal["all", "last", "mean", "max"]
UnknownWord: TypeAlias = Literal["error", "zero", "mean"]


class NetworkOptions(TypedDict, total=False):
    """The options of every call beside words, sizes and seed; torch's names, and torch's defaults.

    None is the default of each.

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
            largest of its states. Default: "all". With `bidirectional` the backward half of "last" has
            read one symbol, the last, as in torch; that of `return_final_state` has read the whole word.
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
        """Returns the value of `NETWORK_HEADER`, as docs/operate/load-balancing.md defines it."""
        return _key(self, hidden_size, seed & SEED_MASK, symbol_count)

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
_DEFAULTS_SPELLED_OUT = {"nonlinearity": "tanh", "unknown_word": "error"}
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


def check_network(options: NetworkOptions | None, *, call: Callable[..., Any] | None = None) -> Network:
    """Returns the network of a call's options.

    Args:
        options: What the caller gave; None stands for the default, of one option or of all.
        call: The method that took them, for the names of its other arguments.

    Raises:
        TypeError: There is no such option, or its value has the wrong type.
        InvalidRequestError: A value that the contract cannot carry; what it means is for the server to judge.
    """
    if not options:
        return DEFAULT_NETWORK
    given: dict[str, Any] = {}
    for name, value in options.items():
        if name not in _CHECKS:
            raise unknown_argument(name, call=call, options=_CHECKS)
        if value is not None:
            given[name] = _CHECKS[name](name, value)
    _check_input(given)
    for name, default in _DEFAULTS_SPELLED_OUT.items():
        if given.get(name) == default:
            del given[name]
    network = Network(**given)
    return DEFAULT_NETWORK if network == DEFAULT_NETWORK else network


def _check_input(given: Mapping[str, Any]) -> None:
    """Refuses what contradicts the choice of what is fed to the network."""
    vectors = given.get("vectors")
    if vectors is None:
        if "unknown_word" in given:
            raise invalid("unknown_word", "unknown_word is for word vectors; name their table with vectors=")
        return
    if "embedding_size" in given:
        raise invalid(
            "vectors",
            f"vectors is {vectors!r} and embedding_size is {given['embedding_size']}; words are fed as one "
            "or the other; leave one out",
        )


def _as_radius(name: str, value: object) -> float:
    radius = as_number(name, value)
    if not (math.isfinite(radius) and radius > 0):
        raise invalid(name, f"{name} is {radius:g}; it must be a number above 0")
    return radius


def _as_table_name(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise wrong_type(name, value, "pass the name of one of the server's tables")
    if not value:
        raise invalid(name, f"{name} is ''; name one of the server's tables, which server_info() lists")
    return value


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "cell": partial(as_choice, choices=_CELLS),
    "nonlinearity": partial(as_choice, choices=_NONLINEARITIES),
    "num_layers": as_count,
    "bidirectional": as_bool,
    "bias": as_bool,
    "proj_size": as_count,
    "spectral_radius": _as_radius,
    "embedding_size": as_count,
    "vectors": _as_table_name,
    "unknown_word": partial(as_choice, choices=_UNKNOWN_WORDS),
    "output": partial(as_choice, choices=_OUTPUTS),
    "return_final_state": as_bool,
}
"""What a value of each option must be; the names are those of `NetworkOptions`."""


def _count_words(sentence: str) -> int:
    return len(sentence.split())
