"""What both clients are made of: their arguments, by which they are also copied and pickled."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from unrolled_client._transport.endpoint import DEFAULT_TIMEOUT_S, Endpoint, as_timeout_s
from unrolled_client._transport.target import DEFAULT_TARGET, Target
from unrolled_client.errors import ClosedError

if TYPE_CHECKING:
    from unrolled_client.local_server import LocalServer
    from unrolled_client.results import Limits


class CopiedByArguments:
    """A client whose copies and pickles are made of its arguments, token and private key included.

    A copy opens connections of its own, also where the original is closed.
    """

    def __init__(self, target: Target, *, timeout_s: float | None, **endpoint: Any) -> None:
        """Takes the arguments of `Client`; those but the timeout are the endpoint's."""
        self._timeout_s = DEFAULT_TIMEOUT_S if timeout_s is None else as_timeout_s("timeout_s", timeout_s)
        self._endpoint = Endpoint.of_arguments(target=target, **endpoint)
        self._limits: Limits | None = None
        self._is_closed = False
        self._local_server: LocalServer | None = None

    @classmethod
    def _with_local_server(
        cls, *, start_timeout_s: float | None, settings: Mapping[str, object], **arguments: Any
    ) -> Self:
        # What a child process takes is a sixth of this package's import time.
        from unrolled_client.local_server import LocalServer  # noqa: PLC0415

        cls(DEFAULT_TARGET, **arguments)  # which checks the arguments before a server starts
        server = LocalServer(start_timeout_s=start_timeout_s, **settings)
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
