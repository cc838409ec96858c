"""The kind of network that a call asks for: its options, in torch's words, and the shapes that follow."""

import struct
from collections.abc import Callable
from functools import lru_cache
from operator import is_, itemgetter
from typing import Any, Literal, NamedTuple, TypeAlias, TypedDict, cast

Cell: TypeAlias = Literal["rnn", "lstm", "gru"]
"""The cell, as in torch.nn."""
Nonlinearity: TypeAlias = Literal["tanh", "relu"]
"""The activation of the cell "rnn"."""
Output: TypeAlias = Literal["all", "last", "mean", "max"]
"""All states, or what one vector per word is made of."""
UnknownWord: TypeAlias = Literal["error", "zero", "mean"]
"""What a word without a vector gets."""
UnknownSymbol: TypeAlias = Literal["error", "skip", "zero"]
"""What happens to a letter that is not in the alphabet."""
OnEmpty: TypeAlias = Literal["error", "zero"]
"""What happens to a word without symbols."""


class NetworkOptions(TypedDict, total=False):
    """Options of a network as a dict, for `client.map(batches, hidden_size=2, **options)`."""

    cell: Cell | None
    nonlinearity: Nonlinearity | None
    num_layers: int | None
    bidirectional: bool | None
    bias: bool | None
    proj_size: int | None
    spectral_radius: float | None
    leak_rate: float | None
    input_scaling: float | None
    density: float | None
    embedding_size: int | None
    word_embedding_size: int | None
    vectors: str | None
    unknown_word: UnknownWord | None
    unknown_symbol: UnknownSymbol | None
    on_empty: OnEmpty | None
    truncate: bool | None
    output: Output | None
    return_final_state: bool | None


class Network(NamedTuple):
    """All options of a call's network; see `Client.forward`."""

    cell: Cell = "rnn"
    nonlinearity: Nonlinearity | None = None
    num_layers: int = 1
    bidirectional: bool = False
    bias: bool = True
    proj_size: int = 0
    spectral_radius: float | None = None
    leak_rate: float | None = None
    input_scaling: float | None = None
    density: float | None = None
    embedding_size: int | None = None
    word_embedding_size: int | None = None
    vectors: str | None = None
    unknown_word: UnknownWord | None = None
    unknown_symbol: UnknownSymbol | None = None
    on_empty: OnEmpty | None = None
    truncate: bool = False
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
    def reads_sentences(self) -> bool:
        """Whether entries of `words` are sentences, whose symbols are words."""
        return self.vectors is not None or self.word_embedding_size is not None

    def symbols(self, text: str) -> list[str]:
        """Returns the symbols of an entry of `words`: its letters or, of a sentence, its words."""
        return text.split() if self.reads_sentences else list(text)

    @property
    def symbol_count(self) -> Callable[[str], int]:
        """Function that counts the symbols of an entry of `words`: code points or, of a sentence, words."""
        return len if self.vectors is None and self.word_embedding_size is None else _count_words

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
_DEFAULTS = DEFAULT_NETWORK._replace(nonlinearity="tanh")  # as the signatures show them
_option_values = itemgetter(*Network._fields)
_GATES = {"rnn": 1, "lstm": 4, "gru": 3}
_FLOAT_OPTIONS = ("spectral_radius", "leak_rate", "input_scaling", "density")
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
        **{name: _float_key(getattr(network, name)) for name in _FLOAT_OPTIONS},
        "random_size": network.embedding_size,
        "random_word_size": network.word_embedding_size,
        "vectors": network.vectors and network.vectors.encode(errors="replace").hex(),
    }
    given = [f"{name}={value}" for name, value in options.items() if value is not None]
    return "/".join([network.cell, f"{hidden_size}", f"{seed}", f"{symbol_count}", *given])


def _float_key(value: float | None) -> str | None:
    return None if value is None else struct.pack(">d", value).hex()


def options_in(arguments: dict[str, Any]) -> NetworkOptions:
    """Returns the options that were given, among the `locals()` of a method that lists them all.

    `unknown` keywords of the method are in the result, too, for `check_network` to refuse.
    """
    given: NetworkOptions = arguments["unknown"]
    values = _option_values(arguments)
    if not all(map(is_, values, _DEFAULTS)):  # a loop takes as long as all checks of a small call
        pairs = zip(Network._fields, values, _DEFAULTS, strict=True)
        changed = {name: value for name, value, default in pairs if value is not default}
        given = cast("NetworkOptions", {**changed, **given})
    return given


def _count_words(sentence: str) -> int:
    return len(sentence.split())
