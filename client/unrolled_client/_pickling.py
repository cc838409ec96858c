"""Copies and pickles of clients, for tasks in other processes."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from unrolled_client._channel import Endpoint
    from unrolled_client.local import LocalServer


class CopiedByArguments:
    """A client whose copies and pickles are made of its arguments, token and private key included.

    A copy opens connections of its own, also where the original is closed.
    """

    _endpoint: "Endpoint"
    _timeout_s: float
    _local_server: "LocalServer | None"

    def __reduce__(self) -> tuple[Callable[[], Self], tuple[()]]:
        if self._local_server is not None:
            raise TypeError(
                "a client of local() cannot be copied or pickled, because its server ends with it: call "
                "local() again in the other process, or start unrolled-server and pass its target"
            )
        return partial(type(self), **self._arguments()), ()

    def _arguments(self) -> dict[str, Any]:
        return {"timeout_s": self._timeout_s, **self._endpoint.arguments()}
