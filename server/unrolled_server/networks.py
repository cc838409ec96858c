"""From the contract's network and embedding to the engine's: judged field by field.

A file of its own because most requests say nothing of all this, and those that do must find every rule of
torch's modules in one place.
"""

from collections.abc import Iterator

from unrolled.v1 import forward_pb2 as pb

from unrolled_server.config import Limits
from unrolled_server.engine import Cell, NetworkSpec, Nonlinearity, Output, layers_nbytes, plain_network
from unrolled_server.errors import Violation

MAX_LAYERS = 16
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


def spec_of(request: pb.ForwardRequest, *, symbol_count: int) -> NetworkSpec:
    """The network of a request without violations."""
    if not (request.HasField("network") or request.HasField("embedding")):
        return plain_network(symbol_count, request.hidden_size, request.seed)
    network = request.network
    return NetworkSpec(
        symbol_count=symbol_count,
        hidden_size=request.hidden_size,
        seed=request.seed,
        cell=CELLS[network.cell],
        nonlinearity=NONLINEARITIES[network.nonlinearity],
        num_layers=network.num_layers if network.HasField("num_layers") else 1,
        bias=not network.HasField("bias") or network.bias,
        proj_size=network.proj_size,
        embedding_size=request.embedding.random_size,
    )


def network_violations(request: pb.ForwardRequest, limits: Limits) -> Iterator[Violation]:
    """Broken rules of the network and of what it is fed."""
    if request.HasField("network"):
        yield from _kind_violations(request.network)
        yield from _number_violations(request.network, hidden_size=request.hidden_size)
    if request.HasField("embedding"):
        yield from _embedding_violations(request.embedding, limits)
    if request.layout == pb.LAYOUT_SEQ_FIRST and OUTPUTS[request.output] is not Output.ALL:
        yield Violation(
            field="output",
            description=(
                f"output is {pb.Output.Name(request.output)} and layout is LAYOUT_SEQ_FIRST; words are no "
                "sequences there, so ask for OUTPUT_ALL or use LAYOUT_BATCH_FIRST"
            ),
        )


def weight_violations(network: NetworkSpec) -> Iterator[Violation]:
    """Weights that would take more memory than one network may have, however few its words are."""
    size = layers_nbytes(network)
    if size > MAX_WEIGHTS_BYTES:
        yield Violation(
            field="network",
            description=(
                f"the network's weights would take {size >> 20} MiB; this server allows "
                f"{MAX_WEIGHTS_BYTES >> 20}; ask for fewer layers, units or symbols"
            ),
        )


def _kind_violations(network: pb.Network) -> Iterator[Violation]:
    """Options of one cell that were given with another."""
    cell = CELLS[network.cell]
    name = f"the {cell.name} cell" if network.cell else "the default cell, RNN"
    if cell is not Cell.RNN and network.nonlinearity:
        yield Violation(
            field="network.nonlinearity",
            description=f"network.nonlinearity is for the RNN cell; {name} has its own; leave it out",
        )
    if cell is not Cell.LSTM and network.proj_size:
        yield Violation(
            field="network.proj_size",
            description=f"network.proj_size is for the LSTM cell; {name} has none; leave it out",
        )


def _number_violations(network: pb.Network, *, hidden_size: int) -> Iterator[Violation]:
    if network.HasField("num_layers") and not 1 <= network.num_layers <= MAX_LAYERS:
        yield Violation(
            field="network.num_layers",
            description=f"network.num_layers is {network.num_layers}; this server allows 1 to {MAX_LAYERS}",
        )
    if network.proj_size and not 0 <= network.proj_size < hidden_size:
        yield Violation(
            field="network.proj_size",
            description=(
                f"network.proj_size is {network.proj_size}; it must be below hidden_size, which is "
                f"{hidden_size}, or 0 for none"
            ),
        )


def _embedding_violations(embedding: pb.Embedding, limits: Limits) -> Iterator[Violation]:
    size = embedding.random_size
    if embedding.WhichOneof("source") == "random_size" and not 1 <= size <= limits.max_hidden_size:
        yield Violation(
            field="embedding.random_size",
            description=(
                f"embedding.random_size is {size}; this server allows 1 to {limits.max_hidden_size}, as for "
                "hidden_size"
            ),
        )
    if embedding.unknown_word:
        yield Violation(
            field="embedding.unknown_word",
            description="embedding.unknown_word is for embedding.vectors; leave it out",
        )
