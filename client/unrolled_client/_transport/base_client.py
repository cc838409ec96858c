"""The base of both clients: their arguments, by which they are also copied and pickled."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import grpc

from unrolled_client._messages.arguments import as_timeout_s, unknown_argument
from unrolled_client._transport.endpoint import DEFAULT_TIMEOUT_S, Endpoint
from unrolled_client._transport.target import DEFAULT_TARGET, Target
from unrolled_client.errors import ClosedError, UnrolledError

if TYPE_CHECKING:
    from unrolled_client.results import Limits


class BaseClient:
    """A client whose copies and pickles consist of its arguments, token and private key included.

    A copy opens its own connections, also if the original is closed.
    """

    def __init__(
        self, target: Target, *, timeout_s: float | None, unknown: Mapping[str, object], **endpoint: Any
    ) -> None:
        """Takes the arguments of `Client`; those in `endpoint` describe the endpoint."""
        for name in unknown:
            raise unknown_argument(name, call=type(self), options=())
        self._timeout_s = DEFAULT_TIMEOUT_S if timeout_s is None else as_timeout_s("timeout_s", timeout_s)
        self._endpoint = Endpoint.from_arguments(target=target, **endpoint)
        self._limits: Limits | None = None
        self._is_closed = False
        self._local_server: Any = None

    @classmethod
    def _with_local_server(cls, start_server: Callable[[], Any], **arguments: Any) -> Self:
        """Returns a client that owns the LocalServer that `start_server` returns."""
        cls(DEFAULT_TARGET, **arguments)  # checks the arguments before a server starts
        server = start_server()
        client = cls(server.target, **arguments)
        client._local_server = server
        return client

    def __reduce__(self) -> tuple[Callable[[], Self], tuple[()]]:
        if self._local_server is not None:
            raise TypeError(
                "a client of local() cannot be copied or pickled, because its server ends with it: call "
                "local() again in the other process, or start unrolled-server and pass its target"
            )
        return partial(type(self), **self._arguments()), ()

    def __repr__(self) -> str:
        closed = ", closed" if self._is_closed else ""
        return f"{type(self).__name__}({self._endpoint.target!r}{closed})"

    def _arguments(self) -> dict[str, Any]:
        return {"timeout_s": self._timeout_s, **self._endpoint.arguments()}

    def _closed(self) -> ClosedError:
        return ClosedError(f"the client of {self._endpoint.target} is closed; make another")

    def _error(self, error: grpc.RpcError) -> UnrolledError:
        """Returns the exception for a failed call."""
        return self._closed() if self._is_closed else self._endpoint.error(error)
