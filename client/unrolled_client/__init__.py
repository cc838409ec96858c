"""The Python SDK of Unrolled: words in, a recurrent network's hidden states out, as numpy arrays.

>>> from unrolled_client import Client
>>> with Client.local() as client:  # or Client("localhost:50051")
...     result = client.forward(["hello", "eolll", "lleel"], hidden_size=2, seed=0)
>>> result.outputs.shape  # (batch, seq, hidden)
(3, 5, 2)

This page lists the whole public surface; modules with an underscore may change at any time. Importing it
loads grpc, numpy and the contract, and never torch.
"""

from typing import TYPE_CHECKING

from unrolled_client._codec import derive_alphabet
from unrolled_client._network import Network, NetworkOptions
from unrolled_client.client import Client
from unrolled_client.errors import (
    AuthenticationError,
    CallCancelledError,
    ClosedError,
    DeadlineError,
    FieldViolation,
    InvalidRequestError,
    LocalServerError,
    OverloadedError,
    ProtocolError,
    ServerError,
    ServerExtraMissingError,
    UnavailableError,
    UnrolledError,
    UnsupportedError,
)
from unrolled_client.result import Layout, Limits, Outcome, Result, ServerInfo, State, Timing

if TYPE_CHECKING:
    from unrolled_client.aio import AsyncClient

__all__ = [
    "AsyncClient",
    "AuthenticationError",
    "CallCancelledError",
    "Client",
    "ClosedError",
    "DeadlineError",
    "FieldViolation",
    "InvalidRequestError",
    "Layout",
    "Limits",
    "LocalServerError",
    "Network",
    "NetworkOptions",
    "Outcome",
    "OverloadedError",
    "ProtocolError",
    "Result",
    "ServerError",
    "ServerExtraMissingError",
    "ServerInfo",
    "State",
    "Timing",
    "UnavailableError",
    "UnrolledError",
    "UnsupportedError",
    "derive_alphabet",
]


def __getattr__(name: str) -> object:
    """Loads what needs asyncio when it is asked for."""
    if name == "AsyncClient":
        from unrolled_client.aio import AsyncClient  # noqa: PLC0415

        return AsyncClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
