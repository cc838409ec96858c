"""Parses request bytes into protobuf messages; refuses fields and options that this server does not know."""

from collections.abc import Iterator, Sequence
from typing import Any

from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet
from unrolled.v1 import forward_pb2 as pb

from unrolled_server.errors import InvalidRequestError, UnsupportedError, Violation

# An error names the faulty field of a message up to this size. Protobuf makes an object of each field that it
# lists: a message of 32 MiB took 20 s and 3 GB.
MAX_LISTED_BYTES = 64 << 10
MAX_NAMED_FIELDS = 8


def parse(data: bytes) -> pb.ForwardRequest:
    """Returns the message in `data`.

    Raises:
        InvalidRequestError: It is not a ForwardRequest, or a string in it is not UTF-8.
    """
    try:
        return pb.ForwardRequest.FromString(data)
    except DecodeError:
        raise _undecodable(data) from None


def parse_info_request(data: bytes) -> None:
    """Checks a GetServerInfoRequest, which has no fields; raises as `parse` and `refuse_unsupported`."""
    try:
        request = pb.GetServerInfoRequest.FromString(data)
    except DecodeError:
        description = f"the {len(data)} bytes received are not a GetServerInfoRequest"
        raise InvalidRequestError([Violation("", description)]) from None
    _refuse_unknown_fields(request, data)


def request_id(data: bytes) -> str:
    """Returns the id in a refused request, or "" if it can't be read."""
    try:
        return pb.ForwardRequest.FromString(data).id
    except DecodeError:
        ids = [item.data for item in _fields(data) if item.field_number == pb.ForwardRequest.ID_FIELD_NUMBER]
        return ids[-1].decode() if ids and isinstance(ids[-1], bytes) and _is_utf8(ids[-1]) else ""


def refuse_unsupported(request: pb.ForwardRequest, data: bytes) -> None:
    """Refuses what this server does not know, before values are checked: a newer client may mean it.

    Raises:
        UnsupportedError: Names the field, its value and what this server does instead.
    """
    _refuse_unknown_fields(request, data)
    _refuse_unknown_values(request, _REQUEST_ENUMS)
    if request.HasField("network"):
        _refuse_unknown_values(request.network, _NETWORK_ENUMS)
    if request.HasField("embedding"):
        _refuse_unknown_values(request.embedding, _EMBEDDING_ENUMS)
    if request.reply_form == pb.REPLY_FORM_DISTINCT and request.output > pb.OUTPUT_ALL:
        raise UnsupportedError(
            f'output="{pb.Output.Name(request.output).removeprefix("OUTPUT_").lower()}" and reply_form is '
            "REPLY_FORM_DISTINCT; this server sends one vector a word in REPLY_FORM_DENSE only"
        )


def _enums(message: type[Message]) -> list[tuple[str, frozenset[int]]]:
    """Returns the enum fields of a message, with the values that they may have."""
    fields = message.DESCRIPTOR.fields
    return [(field.name, frozenset(field.enum_type.values_by_number)) for field in fields if field.enum_type]


_REQUEST_ENUMS = _enums(pb.ForwardRequest)
_NETWORK_ENUMS = _enums(pb.Network)
_EMBEDDING_ENUMS = _enums(pb.Embedding)


def _refuse_unknown_values(message: Message, enums: Sequence[tuple[str, frozenset[int]]]) -> None:
    for name, known in enums:
        value = getattr(message, name)
        if value and value not in known:  # 0, the usual one, is known
            raise UnsupportedError(f"{name} is {value}; this server knows the values of its contract only")


def _refuse_unknown_fields(message: Message, data: bytes) -> None:
    """Refuses a message with unknown fields anywhere in it, and drops them from `message`."""
    size = message.ByteSize()
    message.DiscardUnknownFields()
    if message.ByteSize() == size:
        return
    names = list(dict.fromkeys(_unknown_fields(data, message.DESCRIPTOR)))
    more = f" and {len(names) - MAX_NAMED_FIELDS} more" * (len(names) > MAX_NAMED_FIELDS)
    what = f"field {', '.join(names[:MAX_NAMED_FIELDS])}{more}," if names else "fields that are"
    raise UnsupportedError(
        f"the request has {what} unknown to this server; its contract may be older than yours"
    )


def _unknown_fields(data: bytes, descriptor: Any, prefix: str = "") -> Iterator[str]:
    """Yields the unknown fields of a message of the type `descriptor`, as "111" or "network.15"."""
    for item in _fields(data):
        field = descriptor.fields_by_number.get(item.field_number)
        if field is None:
            yield f"{prefix}{item.field_number}"
        elif field.message_type and isinstance(item.data, bytes):
            yield from _unknown_fields(item.data, field.message_type, f"{prefix}{field.name}.")


def _undecodable(data: bytes) -> InvalidRequestError:
    """Names the string that is not UTF-8, if that is what is wrong with `data`."""
    name = ""
    description = (
        f"the {len(data)} bytes received are not a ForwardRequest, or a string in them is not valid UTF-8"
    )
    if len(data) > MAX_LISTED_BYTES:
        description += f"; for a message of up to {MAX_LISTED_BYTES} bytes this server names that string"
    word_index = -1
    for item in _fields(data):
        word_index += item.field_number == pb.ForwardRequest.WORDS_FIELD_NUMBER
        field = pb.ForwardRequest.DESCRIPTOR.fields_by_number.get(item.field_number)
        if field is not None and field.type == field.TYPE_STRING and not _is_utf8(item.data):
            name = f"words[{word_index}]" if field.name == "words" else field.name
            description = f"{name} is not valid UTF-8; send text encoded as UTF-8"
            break
    return InvalidRequestError([Violation(name, description)])


def _fields(data: bytes) -> Sequence[Any]:
    """Returns the fields of any message, strings and messages as bytes; none if it is large or malformed."""
    if len(data) > MAX_LISTED_BYTES:
        return ()
    try:
        # A message type without fields reads every field as unknown.
        fields = UnknownFieldSet(pb.GetServerInfoRequest.FromString(data))
    except DecodeError:
        return ()
    return [fields[index] for index in range(len(fields))]


def _is_utf8(data: object) -> bool:
    if not isinstance(data, bytes):
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
