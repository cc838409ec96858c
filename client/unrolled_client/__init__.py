"""The Python SDK of Unrolled: words in, a recurrent network's hidden states out, as numpy arrays.

>>> from unrolled_client import Client
>>> with Client.local() as client:  # or Client("localhost:50051")
...     result = client.forward(["hello", "eolll", "lleel"], hidden_size=2, seed=0)
>>> result.outputs.shape  # (batch, seq, hidden)
(3, 5, 2)

This module lists the whole public interface; modules with an underscore may change at any time. Importing it
loads grpc, numpy and the contract, never torch.
"""

from typing import TYPE_CHECKING

import unrolled
from unrolled.text import ALPHABETS, tokenize

from unrolled_client._messages.words import derive_alphabet
from unrolled_client.async_client import AsyncClient
from unrolled_client.client import Client
from unrolled_client.errors import (
    AuthenticationError,
    CallCancelledError,
    ClosedError,
    DeadlineError,
    DerivedAlphabetWarning,
    FieldViolation,
    InvalidRequestError,
    LocalError,
    LocalExtraMissingError,
    OverloadedError,
    ProtocolError,
    ServerError,
    UnavailableError,
    UnrolledError,
    UnsupportedError,
)
from unrolled_client.network import (
    Cell,
    Network,
    NetworkOptions,
    Nonlinearity,
    OnEmpty,
    Output,
    UnknownSymbol,
    UnknownWord,
)
from unrolled_client.results import (
    Layout,
    Limits,
    OnError,
    Outcome,
    Result,
    ServerInfo,
    State,
    StateLike,
    Timing,
    Vectors,
)
from unrolled_client.session import AsyncSession, Session

if TYPE_CHECKING:
    __version__: str

__all__ = [
    "ALPHABETS",
    "AsyncClient",
    "AsyncSession",
    "AuthenticationError",
    "CallCancelledError",
    "Cell",
    "Client",
    "ClosedError",
    "DeadlineError",
    "DerivedAlphabetWarning",
    "FieldViolation",
    "InvalidRequestError",
    "Layout",
    "Limits",
    "LocalError",
    "LocalExtraMissingError",
    "Network",
    "NetworkOptions",
    "Nonlinearity",
    "OnEmpty",
    "OnError",
    "Outcome",
    "Output",
    "OverloadedError",
    "ProtocolError",
    "Result",
    "ServerError",
    "ServerInfo",
    "Session",
    "State",
    "StateLike",
    "Timing",
    "UnavailableError",
    "UnknownSymbol",
    "UnknownWord",
    "UnrolledError",
    "UnsupportedError",
    "Vectors",
    "derive_alphabet",
    "tokenize",
]


def __getattr__(name: str) -> object:
    """Returns the version, whose lookup among installed packages takes tens of milliseconds."""
    if name == "__version__":
        return unrolled.__version__
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
