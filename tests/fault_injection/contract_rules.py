"""A second, simple implementation of the contract's rules for requests, to check the server's validation.

It is written from forward.proto alone: it parses with protobuf and uses nothing of the server but its limits
and tables. It decides only whether a request must be refused, with a short reason.
"""

import math
from dataclasses import dataclass
from itertools import chain

from google.protobuf.message import DecodeError
from unrolled.v1 import forward_pb2 as pb

MAX_ID_BYTES = 128
MAX_LAYERS = 16
MAX_SPECTRAL_RADIUS = 1e3
MAX_OF_RESERVOIR_OPTIONS = {"leak_rate": 1, "input_scaling": 1e3, "density": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """Words and alphabet of a request, its own or those of an earlier request of its stream."""

    words: tuple[str, ...]
    alphabet: str


def texts_of(request):
    """Returns the words and the alphabet in a request."""
    return Texts(words=tuple(request.words), alphabet=request.alphabet)


def parsed(data):
    """Returns the message; None if the bytes are not one."""
    try:
        return pb.ForwardRequest.FromString(data)
    except DecodeError:
        return None


def texts_on_stream(data, earlier):
    """Returns the words that a later request with same_words reuses, after these bytes."""
    request = parsed(data)
    if request is None or not request.words:
        return earlier
    return None if request.same_words else texts_of(request)


def canonical(data):
    """Returns the same request in protobuf's own encoding."""
    return pb.ForwardRequest.FromString(data).SerializeToString()


def why_refused(data, *, limits, tables, digest_of, earlier=None):
    """Returns why a request must be refused; None if it must be answered.

    Args:
        data: The request's bytes.
        limits: The server's limits.
        tables: Words of each table of word vectors, by name.
        digest_of: Returns the digest of a request's network, from the request and its texts.
        earlier: The texts of an earlier request of the stream, or None.
    """
    request = parsed(data)
    if request is None:
        return "no message"
    known = pb.ForwardRequest.FromString(data)
    known.DiscardUnknownFields()
    if known.ByteSize() != request.ByteSize():
        return "an unknown field"
    if request.same_words and (earlier is None or request.words or request.alphabet):
        return "same words as none"
    texts = earlier if request.same_words else texts_of(request)
    rules = chain(
        _options(request),
        _numbers(request, limits),
        _network(request),
        _reservoir(request.network),
        _embedding(request, limits, tables),
        _texts(request, texts, limits),
        _vocabulary(request, texts, limits, tables),
        _state(request, texts, digest_of),
        _reply(request, texts, limits),
    )
    return next(rules, None)


def _options(request):
    enums = (
        (request.output, pb.Output),
        (request.layout, pb.Layout),
        (request.reply_form, pb.ReplyForm),
        (request.network.cell, pb.Cell),
        (request.network.nonlinearity, pb.Nonlinearity),
        (request.embedding.unknown_word, pb.UnknownWord),
        (request.unknown_symbol, pb.UnknownSymbol),
    )
    if any(value not in enum.values() for value, enum in enums):
        yield "an unknown option"
    is_pooled = request.output not in (pb.OUTPUT_UNSPECIFIED, pb.OUTPUT_ALL)
    if is_pooled and request.reply_form == pb.REPLY_FORM_DISTINCT:
        yield "distinct and pooled"
    if is_pooled and request.layout == pb.LAYOUT_SEQ_FIRST:
        yield "pooled along words"


def _numbers(request, limits):
    if not 1 <= request.hidden_size <= limits.max_hidden_size:
        yield "hidden_size"
    if len(request.id.encode()) > MAX_ID_BYTES:
        yield "id"


def _network(request):
    network = request.network
    if network.HasField("num_layers") and not 1 <= network.num_layers <= MAX_LAYERS:
        yield "num_layers"
    if network.nonlinearity and network.cell not in (pb.CELL_UNSPECIFIED, pb.CELL_RNN):
        yield "nonlinearity of another cell"
    if network.proj_size and network.cell != pb.CELL_LSTM:
        yield "proj_size of another cell"
    if network.proj_size and not 0 < network.proj_size < request.hidden_size:
        yield "proj_size"
    if network.HasField("spectral_radius"):
        radius = network.spectral_radius
        if math.isnan(radius) or radius <= 0 or radius > MAX_SPECTRAL_RADIUS:
            yield "spectral_radius"
        if network.proj_size:
            yield "spectral_radius of matrices that are not square"


def _reservoir(network):
    for name, most in MAX_OF_RESERVOIR_OPTIONS.items():
        if network.HasField(name):
            if network.cell not in (pb.CELL_UNSPECIFIED, pb.CELL_RNN):
                yield f"{name} of another cell"
            if not 0 < getattr(network, name) <= most:
                yield name


def _embedding(request, limits, tables):
    embedding = request.embedding
    source = embedding.WhichOneof("source")
    if source == "random_size" and not 1 <= embedding.random_size <= limits.max_hidden_size:
        yield "random_size"
    if source == "random_word_size" and not 1 <= embedding.random_word_size <= limits.max_hidden_size:
        yield "random_word_size"
    if source == "vectors" and embedding.vectors not in tables:
        yield "vectors"
    if embedding.unknown_word and source != "vectors":
        yield "unknown_word"


def _texts(request, texts, limits):
    if not 1 <= len(texts.words) <= limits.max_words:
        yield "the number of words"
    sequences = _sequences(request, texts)
    least = 0 if request.allow_empty_words else 1
    if any(not least <= len(sequence) <= limits.max_word_length for sequence in sequences):
        yield "a word's length"
    if request.layout == pb.LAYOUT_SEQ_FIRST and request.allow_empty_words:
        yield "empty words along words"
    if request.layout == pb.LAYOUT_SEQ_FIRST and len(set(map(len, sequences))) > 1:
        yield "uneven words"


def _vocabulary(request, texts, limits, tables):
    sequences = _sequences(request, texts)
    met = {symbol for sequence in sequences for symbol in sequence}
    if _has_sentences(request):
        if texts.alphabet:
            yield "an alphabet of words"
        if request.unknown_symbol:
            yield "unknown_symbol of words"
        if request.embedding.random_word_size:
            return
        is_strict = request.embedding.unknown_word in (pb.UNKNOWN_WORD_UNSPECIFIED, pb.UNKNOWN_WORD_ERROR)
        if is_strict and met - tables[request.embedding.vectors]:
            yield "an unknown word"
        return
    alphabet = texts.alphabet or "".join(met)
    if len(alphabet) > limits.max_alphabet_size or len(set(alphabet)) < len(alphabet):
        yield "alphabet"
    if met - set(alphabet) and request.unknown_symbol != pb.UNKNOWN_SYMBOL_ZERO:
        yield "an unknown letter"


def _has_sentences(request):
    return bool(request.embedding.vectors or request.embedding.random_word_size)


def _sequences(request, texts):
    return [text.split() for text in texts.words] if _has_sentences(request) else list(texts.words)


def _batch(request, texts):
    """Returns the number of sequences, as torch counts them."""
    is_seq_first = request.layout == pb.LAYOUT_SEQ_FIRST
    return max(map(len, _sequences(request, texts))) if is_seq_first else len(texts.words)


def _layers(request):
    network = request.network
    layers = network.num_layers if network.HasField("num_layers") else 1
    return layers * (2 if network.bidirectional else 1)


def _state(request, texts, digest_of):
    if not request.HasField("initial_state"):
        return
    state, network = request.initial_state, request.network
    shape = [_layers(request), _batch(request, texts)]
    wanted = {"h": [*shape, network.proj_size or request.hidden_size], "c": []}
    if network.cell == pb.CELL_LSTM:
        wanted["c"] = [*shape, request.hidden_size]
    for name, its_shape in wanted.items():
        values = getattr(state, name)
        count = math.prod(its_shape) if its_shape else 0
        if list(getattr(state, f"{name}_shape")) != its_shape or len(values) != count:
            yield f"the shape of {name}"
        if not all(map(math.isfinite, values)):
            yield f"a value of {name}"
    if state.network_digest and state.network_digest != digest_of(request, texts):
        yield "the state's network"


def _reply(request, texts, limits):
    network = request.network
    seq = max(map(len, _sequences(request, texts)))
    places = len(texts.words)
    if request.output in (pb.OUTPUT_UNSPECIFIED, pb.OUTPUT_ALL):
        places *= seq
    hidden = (network.proj_size or request.hidden_size) * (2 if network.bidirectional else 1)
    floats = 2 * hidden + places if request.reply_form == pb.REPLY_FORM_DISTINCT else places * hidden
    if request.return_final_state:
        width = network.proj_size or request.hidden_size
        if network.cell == pb.CELL_LSTM:
            width += request.hidden_size
        floats += _layers(request) * _batch(request, texts) * width
    if 4 * floats > limits.max_reply_bytes:
        yield "the reply's size"
