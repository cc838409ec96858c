"""Channels to a server, their options and deadlines, for both clients."""

import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from itertools import cycle
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, TypedDict, TypeVar, cast

import grpc

from unrolled_client._messages.arguments import as_bool, as_choice, as_integer, as_number, invalid, wrong_type
from unrolled_client._transport.fork_safety import between_forks, forget_in_children, fork_count
from unrolled_client._transport.green_threads import adapt_grpc
from unrolled_client._transport.load_balancing import (
    NETWORK_HEADER,
    SPREADS,
    AboutNetwork,
    Spread,
    let_grpc_hash_networks,
    service_config,
)
from unrolled_client._transport.proxy import proxy_in_use
from unrolled_client._transport.target import (
    NOT_GIVEN,
    Target,
    check_target,
    grpc_target,
    is_on_this_machine,
    resolve_target,
)
from unrolled_client.errors import (
    InvalidRequestError,
    UnrolledError,
    error_from_call,
    was_dropped,
    was_never_connected,
)

if TYPE_CHECKING:
    from unrolled_client._transport.tracing import Tracing

FORWARD = "/unrolled.v1.ForwardService/Forward"
GET_SERVER_INFO = "/unrolled.v1.ForwardService/GetServerInfo"

DEFAULT_TIMEOUT_S = 30.0
# gRPC counts nanoseconds in 64 bits, 292 years; a deadline beyond that would be over at once.
_MAX_DEADLINE_S = 3e9

ChannelOptions: TypeAlias = Sequence[tuple[str, Any]]
RootCertificates: TypeAlias = bytes | Literal["default"]


class Access(TypedDict, total=False):
    """What a client trusts and shows, by the names of its arguments; nothing for clear text."""

    root_certificates: RootCertificates | None
    private_key: bytes | None
    certificate_chain: bytes | None
    token: str | None


_Method = TypeVar("_Method", bound=Callable[..., Any])


_MIB = 2**20
_UNLIMITED = -1

_OPTIONS: dict[str, Any] = {
    # The server bounds requests and replies; gRPC's own 4 MiB would only cut large replies off.
    "grpc.max_receive_message_length": _UNLIMITED,
    "grpc.max_send_message_length": _UNLIMITED,
    # A request beyond this is not kept for another attempt; gRPC's default is 256 KiB. It is a server's usual
    # limit with its metadata, so that what is refused as too large is not sent five times.
    "grpc.per_rpc_retry_buffer_size": 32 * _MIB + 2**16,
    # Retries are of no use while gRPC itself waits a second before it connects again.
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 5_000,
    # Replies are large: gRPC's 16 KiB frames and 64 KiB of window cost a call of 6 MB a quarter of its time
    # (docs/architecture.md). What a reader that stalls may be sent grows by the window.
    "grpc.http2.max_frame_size": _MIB,
    "grpc.http2.lookahead_bytes": 4 * _MIB,
    "grpc.experimental.tcp_read_chunk_size": _MIB // 2,
    "grpc.experimental.tcp_min_read_chunk_size": _MIB // 4,
    # Servers that are not told otherwise drop clients that ping more often than every five minutes. Set at
    # all, it also makes Linux give up a peer that acknowledges nothing for the timeout.
    "grpc.keepalive_time_ms": 300_000,
    "grpc.keepalive_timeout_ms": 20_000,
}
# What gRPC lets travel in metadata; its own complaint would quote the token.
_TOKEN = re.compile(r"[!-~]+")
_PAIR = 2
# gRPC's words for a connection that is lost; that a server says the same code it tells in no other way.
_LOST = re.compile("Stream removed|Socket closed|Connection reset|Broken pipe|GOAWAY")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Whom to call, and how: what both clients take, checked.

    Attributes:
        target: HOST:PORT, unix:PATH, dns:///NAME:PORT or ipv4:ADDRESS:PORT,ADDRESS:PORT.
        options: The user's channel arguments.
        root_certificates: PEM of those who may vouch for the server, or "default" for gRPC's own list; None
            for no TLS.
        private_key: PEM of the client's own key; None if the server asks for none.
        certificate_chain: PEM of the certificate that belongs to it.
        token: Sent with every call as "authorization: Bearer ...".
        channels: Connections, used in turn.
        spread: How calls are spread over the target's addresses; None for the first that answers.
        is_traced: Whether calls make OpenTelemetry spans.

    Raises:
        InvalidRequestError: They do not go together.
    """

    target: str
    options: tuple[tuple[str, Any], ...] = ()
    root_certificates: RootCertificates | None = None
    private_key: bytes | None = field(default=None, repr=False)
    certificate_chain: bytes | None = None
    token: str | None = field(default=None, repr=False)
    channels: int = 1
    spread: Spread | None = None
    is_traced: bool = False

    def __post_init__(self) -> None:
        check_target(self.target, name="target")
        if self.spread is not None:
            as_choice("spread", self.spread, SPREADS)
        if self.spread == "network":
            let_grpc_hash_networks()
        _refuse_paths(self)
        if self.token is not None:
            _check_token(self.token)
        if (self.private_key is None) != (self.certificate_chain is None):
            raise InvalidRequestError("private_key and certificate_chain go together; give both or neither")
        if self.root_certificates is not None:
            return
        if self.private_key is not None:
            raise InvalidRequestError("private_key needs TLS; give root_certificates as well")
        if self.token is not None and not is_on_this_machine(self.target):
            raise InvalidRequestError(
                f"a token would travel to {self.target} in clear text; give root_certificates, or use a "
                "loopback address or a Unix socket"
            )

    @classmethod
    def of_arguments(
        cls,
        *,
        target: Target,
        options: ChannelOptions | None,
        channels: int | None,
        tracing: bool | None,
        **others: Any,
    ) -> Self:
        """Returns the endpoint of a client, from the arguments of its constructor.

        Raises:
            TypeError: An argument has the wrong type.
            InvalidRequestError: The target is malformed, or the arguments do not go together.
        """
        return cls(
            target=resolve_target(None) if target is NOT_GIVEN else target,
            options=_as_options(() if options is None else options),
            channels=1 if channels is None else as_integer("channels", channels, low=1),
            is_traced=tracing is not None and as_bool("tracing", tracing),
            **others,
        )

    @property
    def metadata(self) -> tuple[tuple[str, str], ...] | None:
        """What every call carries."""
        return None if self.token is None else (("authorization", f"Bearer {self.token}"),)

    def arguments_about(self, asked: AboutNetwork) -> dict[str, tuple[tuple[str, str], ...]]:
        """What the call or stream of this question takes beside its timeout."""
        if self.spread != "network":
            return {}
        return {"metadata": (*(self.metadata or ()), (NETWORK_HEADER, asked.network_key))}

    @property
    def credentials(self) -> grpc.ChannelCredentials | None:
        """TLS; None for a channel in clear text."""
        if self.root_certificates is None:
            return None
        roots = None if self.root_certificates == "default" else self.root_certificates
        return grpc.ssl_channel_credentials(roots, self.private_key, self.certificate_chain)

    def arguments(self) -> dict[str, Any]:
        """Returns what a client of the same endpoint is constructed with."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        tracing = values.pop("is_traced")
        return {**values, "tracing": tracing}

    def error(self, failed: grpc.RpcError) -> UnrolledError:
        """Returns the exception for a failed call."""
        proxy = proxy_in_use(self.target, self.channel_options())
        return error_from_call(failed, target=self.target, proxy=proxy)

    def channel_options(self) -> list[tuple[str, Any]]:
        """Returns the arguments of a channel of this process."""
        # A proxy of the environment cannot reach this machine's loopback addresses.
        local = [("grpc.enable_http_proxy", 0)] if is_on_this_machine(self.target) else []
        own: list[tuple[str, Any]] = []
        if self.token is not None and self.root_certificates is None:
            own.append(("grpc.enable_http_proxy", 0))  # through one the token would leave this machine
        if self.channels > 1:  # else gRPC lets all of them share one connection
            own.append(("grpc.use_local_subchannel_pool", 1))
        if fork_count():
            # Channels with the same arguments share connections, also with the parent's, whose they are.
            own.append(("unrolled.fork", f"{os.getpid()}"))
        return channel_options((*local, *self.options, *own), spread=self.spread)

    def tracing(self) -> "Tracing | None":
        """What makes spans; None if calls are not traced.

        Raises:
            InvalidRequestError: OpenTelemetry is not installed.
        """
        if not self.is_traced:
            return None
        try:
            from unrolled_client._transport.tracing import Tracing  # noqa: PLC0415 - it is an extra
        except ImportError:
            raise InvalidRequestError(
                "tracing needs OpenTelemetry, which is not installed: pip install 'unrolled[otel]'"
            ) from None
        return Tracing(self.metadata)

    def method(self, methods: Sequence[_Method]) -> Callable[..., Any]:
        """One method of several channels, as one: in turn, by default with the metadata of every call."""
        method: Callable[..., Any] = methods[0]
        if len(methods) > 1:
            turns = cycle(methods)

            def method(*args: Any, **kwargs: Any) -> Any:
                return next(turns)(*args, **kwargs)

        return method if self.metadata is None else partial(method, metadata=self.metadata)


def _as_options(options: object) -> tuple[tuple[str, Any], ...]:
    remedy = "pass pairs of name and value: [('grpc.NAME', 1)]"
    if not isinstance(options, Iterable) or isinstance(options, str | bytes | Mapping):
        raise wrong_type("options", options, remedy)
    pairs = list(options)
    for at, pair in enumerate(pairs):
        if not (isinstance(pair, tuple | list) and len(pair) == _PAIR and isinstance(pair[0], str)):
            raise wrong_type(f"options[{at}]", pair, remedy)
    return tuple((name, value) for name, value in pairs)


def _check_token(token: str) -> None:
    """Raises an error that does not quote the token if it is no text that metadata can carry."""
    if not isinstance(token, str):
        raise TypeError(f"token is {type(token).__name__}; pass a str")
    if not _TOKEN.fullmatch(token):
        raise InvalidRequestError(
            "the token has characters that cannot travel, such as a space or a line's end; strip() it"
        )


def _refuse_paths(endpoint: Endpoint) -> None:
    for name in ("root_certificates", "private_key", "certificate_chain"):
        given = getattr(endpoint, name)
        if isinstance(given, bytes) or given is None or (name == "root_certificates" and given == "default"):
            continue
        raise TypeError(  # which does not quote a key
            f"{name} is a {type(given).__name__}; give the PEM as bytes, such as Path(...).read_bytes()"
        )


def channel_options(options: ChannelOptions, *, spread: Spread | None = None) -> list[tuple[str, Any]]:
    """The arguments of a channel: this package's, overridden by the user's."""
    return list({**_OPTIONS, "grpc.service_config": service_config(spread), **dict(options)}.items())


def open_channel(endpoint: Endpoint) -> grpc.Channel:
    """Returns a channel, which connects when it is used."""
    adapt_grpc()
    options, credentials = endpoint.channel_options(), endpoint.credentials
    if credentials is None:
        return grpc.insecure_channel(grpc_target(endpoint.target), options=options)
    return grpc.secure_channel(grpc_target(endpoint.target), credentials, options=options)


class Connection:
    """The channels of a synchronous client: opened when first used, and anew in a forked child."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._tracing = endpoint.tracing()
        self._lock = threading.Lock()
        self._channels: list[grpc.Channel] = []
        self._methods: dict[str, Callable[..., Any]] = {}
        self._is_closed = False
        forget_in_children(self)

    def unary(self, path: str) -> Callable[..., bytes]:
        """A unary method: bytes, `timeout` and perhaps `metadata` in, bytes out."""
        return self._methods.get(path) or self._opened(path, kind="unary_unary")

    def stream(self, path: str) -> Callable[..., Any]:
        """A method with streams both ways."""
        return self._methods.get(path) or self._opened(path, kind="stream_stream")

    def close(self) -> None:
        """Ends the channels; what waits for them is cancelled."""
        with self._lock:
            self._is_closed = True
            for channel in self._channels:
                channel.close()

    def forget(self) -> object:
        """Starts anew without touching the channels, which are given back."""
        channels = self._channels
        self._lock = threading.Lock()  # in a forked child nobody is left to release the old one
        self._channels, self._methods = [], {}
        return channels

    def drop_unused(self) -> bool:
        """Nothing: these channels survive a fork in the parent."""
        return False

    def _opened(self, path: str, *, kind: Literal["unary_unary", "stream_stream"]) -> Callable[..., Any]:
        with self._lock:
            if self._is_closed:
                raise ValueError("the connection is closed")  # as a closed channel of gRPC's does
            if not self._channels:
                self._channels = [open_channel(self._endpoint) for _ in range(self._endpoint.channels)]
            methods = [getattr(channel, kind)(path) for channel in self._channels]
            method = self._endpoint.method(methods)
            if self._tracing:
                trace = self._tracing.unary if kind == "unary_unary" else self._tracing.stream
                method = trace(method, path)
            if kind == "unary_unary":
                method = again_if_cut(between_forks(method))
            return self._methods.setdefault(path, method)


def again_if_cut(method: _Method) -> Callable[..., Any]:
    """The unary method, called once more where its server was lost; asking twice changes nothing."""

    def call(data: bytes, *, timeout: float | None, **more: Any) -> Any:
        begin_s = time.monotonic()
        try:
            return method(data, timeout=timeout, **more)
        except grpc.RpcError as error:
            if not was_cut(error):
                raise
        return method(data, timeout=seconds_left(timeout, since_s=begin_s), **more)

    return call


def was_cut(error: grpc.RpcError) -> bool:
    """Whether a call lost its server and was not tried again: gRPC's retries end where a reply begins."""
    call = cast("grpc.Call", error)
    if was_dropped(call):
        return True
    details = call.details() or ""
    if was_never_connected(details):
        return False
    return call.code() is grpc.StatusCode.UNAVAILABLE and bool(_LOST.search(details))


def seconds_left(limit_s: float | None, *, since_s: float) -> float | None:
    """What is left of a limit that began at `since_s` of the monotonic clock; None for no end."""
    return None if limit_s is None else max(limit_s - (time.monotonic() - since_s), 0.0)


def resolve_timeout_s(timeout_s: float | None, *, default_s: float) -> float | None:
    """Returns the seconds that a call may take; None for no end.

    Args:
        timeout_s: As given; None for the default. Infinity, and what gRPC cannot count, is no end.
        default_s: In the same terms.

    Raises:
        TypeError: It is no number.
        InvalidRequestError: It is not above 0.
    """
    limit_s = default_s if timeout_s is None else as_timeout_s("timeout_s", timeout_s)
    return None if limit_s > _MAX_DEADLINE_S else limit_s


def as_timeout_s(name: str, timeout_s: float) -> float:
    """Returns a timeout in seconds, infinite for no end; raises what `resolve_timeout_s` raises."""
    seconds = as_number(name, timeout_s)
    if not seconds > 0:  # false for NaN too
        raise invalid(name, f"{name} is {seconds:g}; it must be above 0, or math.inf for no deadline")
    return seconds
