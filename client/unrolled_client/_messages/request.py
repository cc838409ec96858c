"""A checked request, its encoding as bytes of the contract, and the paths of the methods."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from unrolled.text import first_symbols, letter_filter
from unrolled.v1 import forward_pb2 as pb
from unrolled.v1.wire import state_field

from unrolled_client._messages.words import refuse_surrogates
from unrolled_client.network import DEFAULT_NETWORK, Network
from unrolled_client.results import Layout, State

FORWARD = "/unrolled.v1.ForwardService/Forward"
FORWARD_STREAM = "/unrolled.v1.ForwardService/ForwardStream"
GET_SERVER_INFO = "/unrolled.v1.ForwardService/GetServerInfo"  # its request has no fields: b""

_LAYOUTS = {"batch_first": pb.LAYOUT_BATCH_FIRST, "seq_first": pb.LAYOUT_SEQ_FIRST}
_CELLS = {"rnn": pb.CELL_RNN, "lstm": pb.CELL_LSTM, "gru": pb.CELL_GRU}
_NONLINEARITIES = {"tanh": pb.NONLINEARITY_TANH, "relu": pb.NONLINEARITY_RELU}
_OUTPUTS = {
    "all": pb.OUTPUT_UNSPECIFIED,
    "last": pb.OUTPUT_LAST,
    "mean": pb.OUTPUT_MEAN,
    "max": pb.OUTPUT_MAX,
}
_NETWORK_FIELDS = (
    "num_layers",
    "bidirectional",
    "bias",
    "proj_size",
    "spectral_radius",
    "leak_rate",
    "input_scaling",
    "density",
)
_UNKNOWN_WORDS = {"error": pb.UNKNOWN_WORD_ERROR, "zero": pb.UNKNOWN_WORD_ZERO, "mean": pb.UNKNOWN_WORD_MEAN}


@dataclass(slots=True, kw_only=True)  # not frozen, which would take 1 us more of every call
class Request:
    """The arguments of one call, in types that the contract can carry; never changed."""

    words: list[str]
    lengths: list[int]  # each word's symbols
    hidden_size: int
    seed: int
    alphabet: str  # given or derived; empty with word vectors
    layout: Layout
    network: Network = DEFAULT_NETWORK
    initial_state: State | None = None
    is_alphabet_derived: bool = False
    is_local: bool = False  # whether this process computes it

    @property
    def hidden(self) -> int:
        """Width of the outputs, both directions together."""
        network = self.network
        return (network.proj_size or self.hidden_size) * (2 if network.bidirectional else 1)

    @property
    def batch(self) -> int:
        """Torch's batch size: the words, or with layout "seq_first" the letter positions."""
        return len(self.words) if self.layout == "batch_first" else max(self.lengths, default=0)

    @property
    def network_key(self) -> str:
        """Key of the network, by which load balancing chooses a replica."""
        return self.network.key(self.hidden_size, seed=self.seed, symbol_count=len(self.alphabet))

    def with_words(self, words: list[str]) -> "Request":
        """Returns the same request for other words, without the letters that are to be left out."""
        if self.network.unknown_symbol == "skip":
            words = list(map(letter_filter(self.alphabet), words))
        return replace(self, words=words, lengths=list(map(self.network.symbol_count, words)))

    def truncated(self, max_length: int) -> "Request":
        """Returns the request with words of at most so many symbols."""
        if max(self.lengths, default=0) <= max_length:
            return self
        is_sentence = self.network.reads_sentences
        return self.with_words(
            [first_symbols(word, max_length, is_sentence=is_sentence) for word in self.words]
        )


@dataclass(slots=True, kw_only=True)
class EncodedRequest:
    """A serialized ForwardRequest, and what its reply must match."""

    data: bytes
    request: Request
    is_distinct: bool = False  # whether the reply sends each distinct state once
    out: NDArray[np.float32] | None = None  # where this process writes the outputs; None for a new array


def encode(
    request: Request,
    *,
    is_distinct: bool = False,
    request_id: str = "",
    is_same_words: bool = False,
    out: NDArray[np.float32] | None = None,
) -> EncodedRequest:
    """Returns the request's bytes; the reply repeats `request_id`.

    `is_same_words` leaves words and alphabet out, because an earlier request of the stream carried them.
    """
    message = pb.ForwardRequest(
        hidden_size=request.hidden_size,
        seed=request.seed if request.seed < 2**63 else request.seed - 2**64,  # the int64 of the same 64 bits
        layout=_LAYOUTS[request.layout],
        id=request_id,
    )
    if request.network is not DEFAULT_NETWORK:
        _write_network(request.network, message)
    if is_distinct:
        message.reply_form = pb.REPLY_FORM_DISTINCT
    if is_same_words:
        message.same_words = True
    else:
        _write_words(request, message)
    # The state comes first, because an id at the end of its message can be split off without a parser.
    data = message.SerializeToString()
    if request.initial_state is not None:
        data = _initial_state_field(request.initial_state) + data
    return EncodedRequest(data=data, request=request, is_distinct=is_distinct, out=out)


def _write_network(network: Network, message: pb.ForwardRequest) -> None:
    """Writes the options that differ from the defaults."""
    fields = message.network  # not sent until a field of it is set
    if network.cell != "rnn":
        fields.cell = _CELLS[network.cell]
    if network.nonlinearity is not None:
        fields.nonlinearity = _NONLINEARITIES[network.nonlinearity]
    for name in _NETWORK_FIELDS:
        value = getattr(network, name)
        if value != getattr(DEFAULT_NETWORK, name):
            setattr(fields, name, value)
    if network.embedding_size is not None:
        message.embedding.random_size = network.embedding_size
    if network.word_embedding_size is not None:
        message.embedding.random_word_size = network.word_embedding_size
    if network.vectors is not None:
        message.embedding.vectors = network.vectors
    if network.unknown_word is not None:
        message.embedding.unknown_word = _UNKNOWN_WORDS[network.unknown_word]
    if network.unknown_symbol == "zero":  # the client itself skips letters
        message.unknown_symbol = pb.UNKNOWN_SYMBOL_ZERO
    message.allow_empty_words = network.on_empty == "zero"
    message.output = _OUTPUTS[network.output]
    message.return_final_state = network.return_final_state


def _write_words(request: Request, message: pb.ForwardRequest) -> None:
    try:
        message.words.extend(request.words)
        message.alphabet = request.alphabet
    except UnicodeEncodeError:
        refuse_surrogates(request.words, request.alphabet)


def _initial_state_field(state: State) -> bytes:
    number = pb.ForwardRequest.INITIAL_STATE_FIELD_NUMBER
    return b"".join(state_field(number, h=state.h, c=state.c, network_digest=state.network_digest))
