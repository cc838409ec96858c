"""What this server does of the contract, and the refusal of everything else.

A request that asks for what this server does not do is refused before its values are judged: it may be right,
and an answer to another question would be worse than none.
"""

from collections.abc import Callable, Sequence
from typing import Any

from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet
from unrolled.v1 import forward_pb2 as pb

from unrolled_server.errors import UnsupportedError


def refuse_unsupported(request: pb.ForwardRequest) -> None:
    """Refuses what the contract knows and this server does not do, and what it does not know at all.

    Raises:
        UnsupportedError: Names the field, its value and what this server does instead.
    """
    refuse_unknown_fields(request, path="the request")
    for field, value in request.ListFields():  # only what was set to another value than the default
        refuse = OPTIONS.get(field.name)
        if refuse is not None:
            refuse(value)


def refuse_unknown_fields(message: Message, *, path: str) -> None:
    """Refuses a message from a newer contract; `path` names it."""
    unknown = unknown_fields(message)
    if unknown:
        numbers = ", ".join(str(item.field_number) for item in unknown)
        raise UnsupportedError(
            f"{path} has field {numbers}, unknown to this server; its contract may be older than yours"
        )


def _only(path: str, *done: int, of: Any, name: str) -> Callable[[int], None]:
    """Refuses every value of the enum `of` but those in `done`."""

    def refuse(value: int) -> None:
        if value not in done:
            given = of.Name(value) if value in of.values() else value
            raise UnsupportedError(f"{path} is {given}; this server does {name} only")

    return refuse


def _never(path: str, *, instead: str) -> Callable[[object], None]:
    """Refuses a field that is set at all."""

    def refuse(_value: object) -> None:
        raise UnsupportedError(f"{path} is set; this server {instead} only")

    return refuse


def _refuse_network(network: pb.Network) -> None:
    refuse_unknown_fields(network, path="network")
    for field, value in network.ListFields():
        NETWORK_OPTIONS[field.name](value)


def _refuse_layers(num_layers: int) -> None:
    if num_layers != 1:
        raise UnsupportedError(f"network.num_layers is {num_layers}; this server runs 1 layer only")


def _refuse_missing_bias(bias: bool) -> None:  # noqa: FBT001 - the value of a field, called from a table
    if not bias:
        raise UnsupportedError("network.bias is false; this server runs networks with bias only")


OPTIONS: dict[str, Callable[[Any], None]] = {
    "network": _refuse_network,
    "embedding": _never("embedding", instead="feeds one-hot symbols"),
    "initial_state": _never("initial_state", instead="starts from zeros"),
    "output": _only("output", pb.OUTPUT_ALL, of=pb.Output, name="OUTPUT_ALL"),
    "layout": _only(
        "layout",
        pb.LAYOUT_BATCH_FIRST,
        pb.LAYOUT_SEQ_FIRST,
        of=pb.Layout,
        name="LAYOUT_BATCH_FIRST and LAYOUT_SEQ_FIRST",
    ),
    "reply_form": _only(
        "reply_form",
        pb.REPLY_FORM_DENSE,
        pb.REPLY_FORM_DISTINCT,
        of=pb.ReplyForm,
        name="REPLY_FORM_DENSE and REPLY_FORM_DISTINCT",
    ),
    "return_final_state": _never("return_final_state", instead="sends replies without it"),
}
NETWORK_OPTIONS: dict[str, Callable[[Any], None]] = {
    "cell": _only("network.cell", pb.CELL_RNN, of=pb.Cell, name="CELL_RNN"),
    "nonlinearity": _only(
        "network.nonlinearity", pb.NONLINEARITY_TANH, of=pb.Nonlinearity, name="NONLINEARITY_TANH"
    ),
    "num_layers": _refuse_layers,
    "bidirectional": _never("network.bidirectional", instead="runs one direction"),
    "bias": _refuse_missing_bias,
    "proj_size": _never("network.proj_size", instead="runs networks without a projection"),
    "spectral_radius": _never("network.spectral_radius", instead="runs matrices as drawn"),
}


def unknown_fields(message: Message) -> Sequence[Any]:
    """The fields of `message` that its type does not have, in wire order."""
    fields = UnknownFieldSet(message)
    return [fields[at] for at in range(len(fields))]
