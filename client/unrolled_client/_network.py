"""What kind of network a call asks for, in torch's words.

A file of its own because every call takes these options: they are named, typed and checked in one place.
"""

import operator
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeAlias, TypedDict

from unrolled.v1 import forward_pb2 as pb

from unrolled_client.errors import FieldViolation, InvalidRequestError

Cell: TypeAlias = Literal["rnn", "lstm", "gru"]
Nonlinearity: TypeAlias = Literal["tanh", "relu"]
Output: TypeAlias = Literal["all", "last", "mean", "max"]


class NetworkOptions(TypedDict, total=False):
    """The options of every call beside words, sizes and seed; torch's names, and torch's defaults.

    Attributes:
        cell: torch.nn.RNN, LSTM or GRU. Default: "rnn".
        nonlinearity: Of a plain RNN. Default: "tanh".
        num_layers: Layers, each upon the one before. Default: 1.
        bias: Whether the layers have biases. Default: True.
        proj_size: Size that an LSTM's state is projected to. Default: 0, which is none.
        embedding_size: Size of a torch.nn.Embedding of the alphabet, drawn from the same seed before the
            network. Default: None, which feeds one-hot symbols.
        output: All states of the last layer, or one vector a word: its last state, or the mean or the
            largest of its states. Default: "all".
        return_final_state: Whether the result has every layer's last states. Default: False.
    """

    cell: Cell
    nonlinearity: Nonlinearity
    num_layers: int
    bias: bool
    proj_size: int
    embedding_size: int | None
    output: Output
    return_final_state: bool


class Network(NamedTuple):
    """A call's options, all of them; see `NetworkOptions`."""

    cell: Cell = "rnn"
    nonlinearity: Nonlinearity | None = None
    num_layers: int = 1
    bias: bool = True
    proj_size: int = 0
    embedding_size: int | None = None
    output: Output = "all"
    return_final_state: bool = False

    @property
    def is_pooled(self) -> bool:
        """Whether the outputs are one vector a word."""
        return self.output != "all"

    @property
    def is_for_parts(self) -> bool:
        """Whether a call may be cut, or merged with others: its reply is states, word by word."""
        return not (self.is_pooled or self.return_final_state)

    def write(self, message: pb.ForwardRequest) -> None:
        """Puts what differs from the defaults into a request."""
        network = message.network  # of which nothing is sent until something is set
        if self.cell != "rnn":
            network.cell = _CELLS[self.cell]
        if self.nonlinearity is not None:
            network.nonlinearity = _NONLINEARITIES[self.nonlinearity]
        if self.num_layers != 1:
            network.num_layers = self.num_layers
        if not self.bias:
            network.bias = False
        if self.proj_size:
            network.proj_size = self.proj_size
        if self.embedding_size is not None:
            message.embedding.random_size = self.embedding_size
        message.output = _OUTPUTS[self.output]
        message.return_final_state = self.return_final_state


DEFAULT_NETWORK = Network()
_CELLS = {"rnn": pb.CELL_RNN, "lstm": pb.CELL_LSTM, "gru": pb.CELL_GRU}
_NONLINEARITIES = {"tanh": pb.NONLINEARITY_TANH, "relu": pb.NONLINEARITY_RELU}
_OUTPUTS = {
    "all": pb.OUTPUT_UNSPECIFIED,
    "last": pb.OUTPUT_LAST,
    "mean": pb.OUTPUT_MEAN,
    "max": pb.OUTPUT_MAX,
}
_CHOICES: dict[str, Mapping[str, int]] = {"cell": _CELLS, "nonlinearity": _NONLINEARITIES, "output": _OUTPUTS}
_MAX_INT32 = 2**31 - 1


def check_network(options: NetworkOptions) -> Network:
    """The network of a call's options.

    Raises:
        TypeError: There is no such option, or a number is not an integer.
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
            raise _invalid(name, f"{name} is {given[name]!r}; it must be one of {', '.join(choices)}")
    for name in ("num_layers", "proj_size", "embedding_size"):
        if given.get(name) is not None:
            given[name] = _count(name, given[name])
    if given.get("nonlinearity") == "tanh":  # the default, spelled out
        del given["nonlinearity"]
    network = Network(**given)
    return DEFAULT_NETWORK if network == DEFAULT_NETWORK else network


def _count(name: str, value: int) -> int:
    number = operator.index(value)
    if not 0 <= number <= _MAX_INT32:
        raise _invalid(name, f"{name} is {number}; it must be from 0 to {_MAX_INT32}")
    return number


def _invalid(field: str, description: str) -> InvalidRequestError:
    return InvalidRequestError(
        description, violations=(FieldViolation(field=field, description=description),)
    )
