"""Parses request bytes into protobuf messages, and refuses fields and options that this server does not know."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet
from unrolled.v1 import forward_pb2 as pb

from unrolled_server.errors import InvalidRequestError, UnsupportedError, Violation

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


def parse(data: bytes) -> pb.ForwardRequest:
    """The message in `data`.

    Raises:
        InvalidRequestError: It is no ForwardRequest, or a string in it is not UTF-8.
    """
    try:
        return pb.ForwardRequest.FromString(data)
    except DecodeError:
        raise _undecodable(data) from None


def parse_info_request(data: bytes) -> None:
    """Accepts a GetServerInfoRequest, which asks nothing in particular.

    Raises:
        InvalidRequestError: The bytes are no message.
        UnsupportedError: It has a field, which this server does not know.
    """
    try:
        request = pb.GetServerInfoRequest.FromString(data)
    except DecodeError:
        raise InvalidRequestError(
            [
                Violation(
                    field="", description=f"the {len(data)} bytes received are not a GetServerInfoRequest"
                )
            ]
        ) from None
    if len(data) > MAX_LISTED_BYTES:
        refuse_unnamed_fields(request, path="the request")
    refuse_unknown_fields(request, path="the request")


def request_id(data: bytes) -> str:
    """The id in a request that was refused, as far as it can be read; else empty."""
    try:
        return pb.ForwardRequest.FromString(data).id
    except DecodeError:
        return _id_among_others(data)


def _id_among_others(data: bytes) -> str:
    """The id in a message whose other fields are malformed, if it is not too large to be taken apart."""
    if len(data) > MAX_LISTED_BYTES:
        return ""
    try:
        raw = unknown_fields(pb.GetServerInfoRequest.FromString(data))
    except DecodeError:
        return ""
    ids = [item.data for item in raw if item.field_number == pb.ForwardRequest.ID_FIELD_NUMBER]
    return ids[-1].decode() if ids and isinstance(ids[-1], bytes) and _is_utf8(ids[-1]) else ""


def _undecodable(data: bytes) -> InvalidRequestError:
    """Names the string that is not UTF-8, where that is what is wrong with `data` and it is not large."""
    if len(data) > MAX_LISTED_BYTES:
        description = (
            f"the {len(data)} bytes received are not a ForwardRequest, or a string there is no valid UTF-8; "
            f"of up to {MAX_LISTED_BYTES} bytes it would be named"
        )
        return InvalidRequestError([Violation(field="", description=description)])
    try:
        # A message without fields reads every field as unknown, strings as bytes.
        raw = unknown_fields(pb.GetServerInfoRequest.FromString(data))
    except DecodeError:
        return InvalidRequestError(
            [Violation(field="", description=f"the {len(data)} bytes received are not a ForwardRequest")]
        )
    word_index = -1
    for item in raw:
        word_index += item.field_number == pb.ForwardRequest.WORDS_FIELD_NUMBER
        descriptor = pb.ForwardRequest.DESCRIPTOR.fields_by_number.get(item.field_number)
        if descriptor is None or descriptor.type != descriptor.TYPE_STRING or _is_utf8(item.data):
            continue
        name = f"words[{word_index}]" if descriptor.name == "words" else descriptor.name
        return InvalidRequestError(
            [Violation(field=name, description=f"{name} is not valid UTF-8; send text encoded as UTF-8")]
        )
    return InvalidRequestError(
        [Violation(field="", description="a field inside the request is malformed or not valid UTF-8")]
    )


def _is_utf8(data: object) -> bool:
    if not isinstance(data, bytes):
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
