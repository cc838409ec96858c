"""The only module that imports internals of the SDK; all others take them from here."""

from unrolled.v1 import forward_pb2 as pb
from unrolled_client._messages.encoding import Request, check_request
from unrolled_client._streaming.aio_driver import FAILED_WRITE
from unrolled_client._streaming.sizing import encode_whole
from unrolled_client._transport.aio_connection import open_aio_channel
from unrolled_client._transport.endpoint import Access, Endpoint
from unrolled_client._transport.load_balancing import Spread, service_config

__all__ = [
    "FAILED_WRITE",
    "FORWARD",
    "FORWARD_STREAM",
    "SERVICE",
    "Access",
    "Endpoint",
    "Request",
    "Spread",
    "check_request",
    "encode_whole",
    "open_aio_channel",
    "service_config",
]

SERVICE: str = pb.DESCRIPTOR.services_by_name["ForwardService"].full_name
FORWARD, FORWARD_STREAM = f"/{SERVICE}/Forward", f"/{SERVICE}/ForwardStream"
