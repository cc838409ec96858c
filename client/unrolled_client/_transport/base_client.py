"""The base of both clients: their arguments, by which they are also copied and pickled."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Never, Self

import grpc

from unrolled_client._messages.arguments import as_bool, as_integer, as_timeout_s, unknown_argument
from unrolled_client._transport.endpoint import (
    DEFAULT_TIMEOUT_S,
    ChannelOptions,
    Endpoint,
    RootCertificates,
    Spread,
    as_options,
)
from unrolled_client._transport.target import DEFAULT_TARGET, NOT_GIVEN, Target, resolve_target
from unrolled_client.errors import ClosedError, UnrolledError

if TYPE_CHECKING:
    from unrolled_client.results import Limits


class BaseClient:
    """A client whose copies and pickles consist of its arguments; each opens its own connections."""

    def __init__(  # noqa: PLR0913 - everything by name
        self,
        target: Target = NOT_GIVEN,
        *,
        timeout_s: float | None = DEFAULT_TIMEOUT_S,
        options: ChannelOptions | None = (),
        root_certificates: RootCertificates | None = None,
        private_key: bytes | None = None,
        certificate_chain: bytes | None = None,
        token: str | None = None,
        channels: int | None = 1,
        spread: Spread | None = None,
        tracing: bool | None = False,
        **unknown: Never,
    ) -> None:
        """Stores the address without connecting.

        Args:
            target: HOST:PORT, unix:PATH or another name that gRPC resolves; for several replicas
                dns:///NAME:PORT, or ipv4:ADDRESS:PORT,ADDRESS:PORT. Default: the environment variable
                UNROLLED_TARGET, else localhost:50051. None is an error, often a missing setting.
            timeout_s: Default timeout of a call in seconds; math.inf for no deadline.
            options: gRPC channel arguments, which override this package's own. A `grpc.service_config` also
                replaces the retries, and the load balancing of `spread`.
            root_certificates: Turns on TLS: PEM of the authorities to trust, or "default" for gRPC's list.
            private_key: PEM of the client's key for mutual TLS; with `certificate_chain`.
            certificate_chain: PEM of the client's certificate.
            token: Sent with every call as `authorization: Bearer ...`. Needs TLS, a loopback address or a
                Unix socket.
            channels: Connections to use in turn; several help if each reaches only one of many workers.
            spread: Load balancing over the replicas of `target`: "round_robin" asks them in turn, "network"
                asks the same one for each network, which then has its states cached
                (docs/operate/load-balancing.md). None asks the first that answers.
            tracing: Makes an OpenTelemetry span for each call and stream, by the application's provider;
                needs `pip install 'unrolled[otel]'`.
            **unknown: Not allowed; the error names the nearest argument.

        Raises:
            TypeError: There is no such argument, or one has the wrong type.
            InvalidRequestError: `target` is malformed, `timeout_s` is not above 0, or the arguments
                contradict each other.
        """
        for name in unknown:
            raise unknown_argument(name, call=type(self))
        self._timeout_s = DEFAULT_TIMEOUT_S if timeout_s is None else as_timeout_s("timeout_s", timeout_s)
        self._endpoint = Endpoint(
            target=resolve_target(None) if target is NOT_GIVEN else target,
            options=as_options(options),
            root_certificates=root_certificates,
            private_key=private_key,
            certificate_chain=certificate_chain,
            token=token,
            channels=1 if channels is None else as_integer("channels", channels, low=1),
            spread=spread,
            is_traced=as_bool("tracing", tracing, default=False),
        )
        self._limits: Limits | None = None
        self._is_closed = False
        self._local_server: Any = None
        self._prepare()

    def _prepare(self) -> None:
        """Prepares the connections of a client whose arguments are checked, without connecting."""

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
