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

from unrolled_client._messages.words import derive_alphabet
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
from unrolled_client.network import Network, NetworkOptions
from unrolled_client.results import Layout, Limits, Outcome, Result, ServerInfo, State, Timing, Vectors

if TYPE_CHECKING:
    from unrolled_client.async_client import AsyncClient
    from unrolled_client.session import AsyncSession, Session

    __version__: str

__all__ = [
    "AsyncClient",
    "AsyncSession",
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
    "Session",
    "State",
    "Timing",
    "UnavailableError",
    "UnrolledError",
    "UnsupportedError",
    "Vectors",
    "derive_alphabet",
]


_MODULES_OF_LATE_NAMES = {
    "AsyncClient": "unrolled_client.async_client",
    "AsyncSession": "unrolled_client.session",
    "Session": "unrolled_client.session",
    "__version__": "unrolled",
}


def __getattr__(name: str) -> object:
    """Loads what few processes use, such as all that needs asyncio, when it is asked for."""
    if name not in _MODULES_OF_LATE_NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    return getattr(import_module(_MODULES_OF_LATE_NAMES[name]), name)
