"""What this server does of the contract, and the refusal of everything else.

A request that asks for what this server does not do is refused before its values are judged: it may be right,
and an answer to another question would be worse than none.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet
from unrolled.v1 import forward_pb2 as pb

from unrolled_server.errors import UnsupportedError

MAX_LISTED_BYTES = 64 << 10
"""Bytes of a message up to which its unknown fields are taken one by one: protobuf makes an object of each,
which for a message of 32 MiB took 20 s and 3 GB."""
MAX_NAMED_FIELDS = 8


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
    if request.reply_form == pb.REPLY_FORM_DISTINCT and request.output > pb.OUTPUT_ALL:
        raise UnsupportedError(
            f'output="{pb.Output.Name(request.output).removeprefix("OUTPUT_").lower()}" and reply_form is '
            "REPLY_FORM_DISTINCT; this server sends one vector a word in REPLY_FORM_DENSE only"
        )


def refuse_unknown_fields(message: Message, *, path: str) -> None:
    """Refuses a message from a newer contract; `path` names it. For messages up to `MAX_LISTED_BYTES`."""
    numbers = [str(number) for number in dict.fromkeys(item.field_number for item in unknown_fields(message))]
    if numbers:
        more = f" and {len(numbers) - MAX_NAMED_FIELDS} more" * (len(numbers) > MAX_NAMED_FIELDS)
        raise UnsupportedError(
            f"{path} has field {', '.join(numbers[:MAX_NAMED_FIELDS])}{more}, unknown to this server; "
            "its contract may be older than yours"
        )


def refuse_unnamed_fields(message: Message, *, path: str) -> None:
    """Refuses a message of any size with unknown fields anywhere in it, without telling which.

    What is accepted keeps its bytes, though they are written twice: some ms for 32 MiB.
    """
    size = message.ByteSize()
    message.DiscardUnknownFields()
    if message.ByteSize() != size:
        raise UnsupportedError(
            f"{path} has fields that are unknown to this server; its contract may be older than yours"
        )


def _only(path: str, *done: int, of: Any, name: str) -> Callable[[int], None]:
    """Refuses every value of the enum `of` but those in `done`."""

    def refuse(value: int) -> None:
        if value not in done:
            given = of.Name(value) if value in of.values() else value
            raise UnsupportedError(f"{path} is {given}; this server does {name} only")

    return refuse


def _refuse_within(path: str, options: Mapping[str, Callable[[Any], None]]) -> Callable[[Message], None]:
    """Refuses what `options` refuse of a message's fields."""

    def refuse(message: Message) -> None:
        refuse_unknown_fields(message, path=path)
        for field, value in message.ListFields():
            if field.name in options:
                options[field.name](value)

    return refuse


def _known(path: str, enum: Any) -> Callable[[int], None]:
    """Refuses values that the contract does not have."""
    return _only(path, *enum.values(), of=enum, name="those of its contract")


NETWORK_OPTIONS: dict[str, Callable[[Any], None]] = {
    "cell": _known("cell", pb.Cell),
    "nonlinearity": _known("nonlinearity", pb.Nonlinearity),
}
EMBEDDING_OPTIONS: dict[str, Callable[[Any], None]] = {
    "unknown_word": _known("unknown_word", pb.UnknownWord),
}
OPTIONS: dict[str, Callable[[Any], None]] = {
    "network": _refuse_within("network", NETWORK_OPTIONS),
    "embedding": _refuse_within("embedding", EMBEDDING_OPTIONS),
    "initial_state": _refuse_within("initial_state", {}),
    "output": _known("output", pb.Output),
    "layout": _known("layout", pb.Layout),
    "reply_form": _known("reply_form", pb.ReplyForm),
}


def unknown_fields(message: Message) -> Sequence[Any]:
    """The fields of `message` that its type does not have, in wire order."""
    fields = UnknownFieldSet(message)
    return [fields[at] for at in range(len(fields))]
