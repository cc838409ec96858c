"""The base of both clients: their arguments, by which they are also copied and pickled."""

import warnings
from collections.abc import Callable
from functools import partial
from os import PathLike
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
from unrolled_client._transport.in_process import InProcess
from unrolled_client._transport.target import DEFAULT_TARGET, NOT_GIVEN, Target, resolve_target
from unrolled_client._transport.word_vectors import VectorSources, held_vectors
from unrolled_client.errors import ClosedError, DerivedAlphabetWarning, UnrolledError

if TYPE_CHECKING:
    from unrolled_client._messages.request import Request
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
        self._derived_alphabet: str | None = None
        self._is_closed = False
        self._in_process: InProcess | None = None
        self._prepare()

    def _prepare(self) -> None:
        """Prepares the connections of a client whose arguments are checked, without connecting."""

    @classmethod
    def local(  # noqa: PLR0913 - the settings by name
        cls,
        *,
        timeout_s: float | None = DEFAULT_TIMEOUT_S,
        device: str | None = None,
        compute_threads: int | None = None,
        state_memory_mb: int | None = None,
        max_words: int | None = None,
        max_word_length: int | None = None,
        max_hidden_size: int | None = None,
        max_alphabet_size: int | None = None,
        max_request_bytes: int | None = None,
        max_reply_bytes: int | None = None,
        vectors: VectorSources | None = None,
        vectors_cache: str | PathLike[str] | None = None,
        **unknown: Never,
    ) -> Self:
        """Returns a client that computes in this process, with the bits, limits and errors of a server.

        There is no socket and no other process. Threads may share the client, whose calls then wait for each
        other. `close` frees its memory and ends its threads. A pickle contains the settings; a copy and a
        forked child compute by themselves. The environment is not read.

        Args:
            timeout_s: Default timeout of a call in seconds; math.inf for no deadline.
            device: "auto", "cpu", "cuda" or "mps". Default: an accelerator that torch finds, else the CPU.
            compute_threads: Threads that share a large call. Default: one for each core of this process.
            state_memory_mb: MiB for networks and their computed states. Default: 1,024.
            max_words: The limits of a request, as those of a server; the defaults are in
                docs/operate/limits.md.
            max_word_length: See `max_words`.
            max_hidden_size: See `max_words`.
            max_alphabet_size: See `max_words`.
            max_request_bytes: See `max_words`.
            max_reply_bytes: See `max_words`. Larger calls are computed in parts.
            vectors: Files of word vectors: "glove=glove.txt", a list of these, or a dict of names and files.
                A dict may also hold vectors in memory: (words, matrix), gensim's KeyedVectors, or a pandas
                DataFrame with words as its index. A float32 matrix in C order is used without a copy: do not
                change it while the client is open.
            vectors_cache: Folder for the converted forms of files. Default: unrolled in the user's cache
                folder.
            **unknown: Not allowed; the error names the nearest setting.

        Raises:
            LocalExtraMissingError: Packages are missing: pip install 'unrolled[local]'.
            LocalError: The native core does not work, there is no such device, or word vectors cannot be
                loaded.
            TypeError: There is no such setting, or one has the wrong type.
            InvalidRequestError: The value of a setting is wrong.
        """
        settings = {
            "device": device,
            "compute_threads": compute_threads,
            "state_memory_mb": state_memory_mb,
            "max_words": max_words,
            "max_word_length": max_word_length,
            "max_hidden_size": max_hidden_size,
            "max_alphabet_size": max_alphabet_size,
            "max_request_bytes": max_request_bytes,
            "max_reply_bytes": max_reply_bytes,
            "vectors": held_vectors(vectors),
            "vectors_cache": vectors_cache,
        }
        given = {name: value for name, value in settings.items() if value is not None}
        client = cls(DEFAULT_TARGET, timeout_s=timeout_s)
        client._in_process = InProcess(given | unknown)
        return client

    def __reduce__(self) -> tuple[Callable[[], Self], tuple[()]]:
        if self._in_process is not None:
            return partial(type(self).local, timeout_s=self._timeout_s, **self._in_process.settings), ()
        return partial(type(self), **self._arguments()), ()

    def __repr__(self) -> str:
        if self._in_process is not None:
            settings = [f"{name}={value!r}" for name, value in self._in_process.settings.items()]
            return f"{type(self).__name__}.local({', '.join([*settings, *['closed'] * self._is_closed])})"
        closed = ", closed" if self._is_closed else ""
        return f"{type(self).__name__}({self._endpoint.target!r}{closed})"

    def _arguments(self) -> dict[str, Any]:
        return {"timeout_s": self._timeout_s, **self._endpoint.arguments()}

    def _note_alphabet(self, request: "Request", *, stacklevel: int = 3) -> None:
        """Warns once, at the caller's line, if this call derived another alphabet than an earlier one."""
        before = self._derived_alphabet
        if not (request.is_alphabet_derived and request.alphabet) or before in {request.alphabet, ""}:
            return
        self._derived_alphabet = request.alphabet if before is None else ""  # "": has warned
        if before is not None:
            warnings.warn(
                f"this call derived the alphabet {request.alphabet!r:.50}, an earlier one {before!r:.50}; "
                "their results come from different networks; pass alphabet= to compare them",
                DerivedAlphabetWarning,
                stacklevel=stacklevel,
            )

    def _closed(self) -> ClosedError:
        return ClosedError(f"the client of {self._endpoint.target} is closed; make another")

    def _error(self, error: grpc.RpcError) -> UnrolledError:
        """Returns the exception for a failed call."""
        return self._closed() if self._is_closed else self._endpoint.error(error)
