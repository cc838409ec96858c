"""Low-level interface for tools that measure or test servers: raw requests, channels and replies.

A tool encodes requests with `check_request` and `encode_request`, opens channels for an `Endpoint` and calls
the methods `FORWARD` and `FORWARD_STREAM` with bytes, by gRPC's generic API. `Endpoint.metadata_for` returns
a call's metadata and `Endpoint.error` the exception for a failed call. `parse_reply` splits a reply without
copying its arrays.
"""

from unrolled_client._messages.decoding import parse_reply
from unrolled_client._messages.request import FORWARD, FORWARD_STREAM, EncodedRequest, Request
from unrolled_client._messages.validation import check_request
from unrolled_client._streaming.aio_driver import FAILED_WRITE
from unrolled_client._streaming.sizing import encode_whole as encode_request
from unrolled_client._transport.connection import open_aio_channel, open_channel
from unrolled_client._transport.endpoint import Access, Endpoint, Spread, service_config

__all__ = [
    "FAILED_WRITE",
    "FORWARD",
    "FORWARD_STREAM",
    "Access",
    "EncodedRequest",
    "Endpoint",
    "Request",
    "Spread",
    "check_request",
    "encode_request",
    "open_aio_channel",
    "open_channel",
    "parse_reply",
    "service_config",
]
