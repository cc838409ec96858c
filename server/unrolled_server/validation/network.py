"""Checks a request's network and embedding and turns them into the engine's `NetworkSpec`.

Messages use the names of the SDK, such as `embedding_size`; a violation's field is the path in the contract.
"""

from collections.abc import Iterator

from unrolled.v1 import forward_pb2 as pb

from unrolled_server.engine import (
    RANDOM_WORD_SYMBOLS,
    Cell,
    NetworkSpec,
    Nonlinearity,
    Output,
    WordVectors,
)
from unrolled_server.engine_settings import Limits
from unrolled_server.errors import Violation
from unrolled_server.validation.words import RequestWords
from unrolled_server.word_vectors import VectorTable

MAX_LAYERS = 16
MAX_SPECTRAL_RADIUS = 1e3
# Options of the plain RNN, which are 1 if they are left out, and the most that each may be.
MAX_OF_RESERVOIR_OPTIONS = {"leak_rate": 1.0, "input_scaling": 1e3, "density": 1.0}
MAX_WEIGHTS_BYTES = 512 << 20
CELLS = {
    pb.CELL_UNSPECIFIED: Cell.RNN,
    pb.CELL_RNN: Cell.RNN,
    pb.CELL_LSTM: Cell.LSTM,
    pb.CELL_GRU: Cell.GRU,
}
NONLINEARITIES = {
    pb.NONLINEARITY_UNSPECIFIED: Nonlinearity.TANH,
    pb.NONLINEARITY_TANH: Nonlinearity.TANH,
    pb.NONLINEARITY_RELU: Nonlinearity.RELU,
}
OUTPUTS = {
    pb.OUTPUT_UNSPECIFIED: Output.ALL,
    pb.OUTPUT_ALL: Output.ALL,
    pb.OUTPUT_LAST: Output.LAST,
    pb.OUTPUT_MEAN: Output.MEAN,
    pb.OUTPUT_MAX: Output.MAX,
}


def cell_name(cell: Cell) -> str:
    """Returns a cell as the SDK writes it."""
    return f'cell="{cell.name.lower()}"'


def network_spec(
    request: pb.ForwardRequest, words: RequestWords, *, table: VectorTable | None
) -> NetworkSpec:
    """Returns the network of a valid request; `table` has the vectors that it names, if any."""
    network, embedding = request.network, request.embedding
    if table is not None:
        symbol_count, embedding_size = WordVectors.symbol_count_of(table.word_count), table.size
    elif embedding.random_word_size:
        symbol_count, embedding_size = RANDOM_WORD_SYMBOLS, embedding.random_word_size
    else:
        symbol_count, embedding_size = len(words.symbols), embedding.random_size
    return NetworkSpec(
        symbol_count=symbol_count,
        hidden_size=request.hidden_size,
        seed=request.seed,
        cell=CELLS[network.cell],
        nonlinearity=NONLINEARITIES[network.nonlinearity],
        num_layers=network.num_layers if network.HasField("num_layers") else 1,
        bias=not network.HasField("bias") or network.bias,
        proj_size=network.proj_size,
        embedding_size=embedding_size,
        vectors="" if table is None else table.digest,
        bidirectional=network.bidirectional,
        spectral_radius=network.spectral_radius,
        leak_rate=network.leak_rate or 1.0,
        input_scaling=network.input_scaling or 1.0,
        density=network.density or 1.0,
    )


def network_violations(request: pb.ForwardRequest, limits: Limits) -> Iterator[Violation]:
    """Yields what is wrong with the network and its embedding."""
    if request.HasField("network"):
        yield from _kind_violations(request.network)
        yield from _radius_violations(request.network)
        yield from _reservoir_violations(request.network)
        yield from _number_violations(request.network, hidden_size=request.hidden_size)
    if request.HasField("embedding"):
        yield from _embedding_violations(request.embedding, limits)
    if request.layout == pb.LAYOUT_SEQ_FIRST and OUTPUTS[request.output] is not Output.ALL:
        yield Violation(
            "output",
            f'output="{OUTPUTS[request.output].name.lower()}" does not go with layout="seq_first", whose '
            'sequences are not the words; ask for output="all" or layout="batch_first"',
        )


def weight_violations(network: NetworkSpec) -> Iterator[Violation]:
    """Yields a violation if the weights take more memory than one network may have."""
    size = network.parameter_nbytes
    if size > MAX_WEIGHTS_BYTES:
        yield Violation(
            "network",
            f"the network's weights would take {size >> 20} MiB; this server allows "
            f"{MAX_WEIGHTS_BYTES >> 20}; ask for fewer layers, units or symbols",
        )


def _kind_violations(network: pb.Network) -> Iterator[Violation]:
    """Yields options that do not go with the cell."""
    cell = CELLS[network.cell]
    if cell is not Cell.RNN and network.nonlinearity:
        yield Violation(
            "network.nonlinearity",
            f'nonlinearity is for cell="rnn"; {cell_name(cell)} has its own; leave it out',
        )
    if cell is not Cell.LSTM and network.proj_size:
        yield Violation(
            "network.proj_size",
            f'proj_size is {network.proj_size}, which is for cell="lstm"; {cell_name(cell)} has none; '
            "leave it out",
        )


def _radius_violations(network: pb.Network) -> Iterator[Violation]:
    if not network.HasField("spectral_radius"):
        return
    radius = network.spectral_radius
    if not 0 < radius <= MAX_SPECTRAL_RADIUS:
        yield Violation(
            "network.spectral_radius",
            f"spectral_radius is {radius:g}; this server allows numbers above 0 and up to "
            f"{MAX_SPECTRAL_RADIUS:g}; leave it out for matrices as drawn",
        )
    if network.proj_size:
        yield Violation(
            "network.spectral_radius",
            "spectral_radius is for square recurrent matrices, and with proj_size they are not square; "
            "leave one of them out",
        )


def _reservoir_violations(network: pb.Network) -> Iterator[Violation]:
    cell = CELLS[network.cell]
    for name, most in MAX_OF_RESERVOIR_OPTIONS.items():
        if not network.HasField(name):
            continue
        value = getattr(network, name)
        if cell is not Cell.RNN:
            yield Violation(
                f"network.{name}",
                f'{name} is {value:g}, which is for cell="rnn"; {cell_name(cell)} has none; leave it out',
            )
        elif not 0 < value <= most:
            yield Violation(
                f"network.{name}",
                f"{name} is {value:g}; this server allows numbers above 0 and up to {most:g}; "
                "leave it out for 1",
            )


def _number_violations(network: pb.Network, *, hidden_size: int) -> Iterator[Violation]:
    if network.HasField("num_layers") and not 1 <= network.num_layers <= MAX_LAYERS:
        yield Violation(
            "network.num_layers", f"num_layers is {network.num_layers}; this server allows 1 to {MAX_LAYERS}"
        )
    if network.proj_size and not 0 <= network.proj_size < hidden_size:
        yield Violation(
            "network.proj_size",
            f"proj_size is {network.proj_size}; it must be below hidden_size, which is "
            f"{hidden_size}, or 0 for none",
        )


def _embedding_violations(embedding: pb.Embedding, limits: Limits) -> Iterator[Violation]:
    for field, name in (("random_size", "embedding_size"), ("random_word_size", "word_embedding_size")):
        size = getattr(embedding, field)
        if embedding.WhichOneof("source") == field and not 1 <= size <= limits.max_hidden_size:
            yield Violation(
                f"embedding.{field}",
                f"{name} is {size}; this server allows 1 to {limits.max_hidden_size}, as for hidden_size",
            )
    if embedding.WhichOneof("source") == "vectors" and not embedding.vectors:
        yield Violation(
            "embedding.vectors", "vectors is ''; name a table, or leave it out for one-hot vectors"
        )
    if embedding.unknown_word and not embedding.vectors:
        yield Violation(
            "embedding.unknown_word",
            "unknown_word is for word vectors; name their table with vectors, or leave it out",
        )
