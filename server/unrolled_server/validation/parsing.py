"""From bytes to messages of the contract, and what can be said of bytes that are none.

A file of its own because bytes may be wrong in ways that no rule about values covers.
"""

from google.protobuf.message import DecodeError
from unrolled.v1 import forward_pb2 as pb

from unrolled_server.errors import InvalidRequestError, Violation
from unrolled_server.validation.capabilities import (
    MAX_LISTED_BYTES,
    refuse_unknown_fields,
    refuse_unnamed_fields,
    unknown_fields,
)


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
