"""The address and credentials of a server, and the arguments of its channels."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Protocol, TypeAlias, TypedDict

import grpc

from unrolled_client._messages.arguments import as_choice, wrong_type
from unrolled_client._transport.call_errors import error_from_call, proxy_in_use
from unrolled_client._transport.fork_safety import child_options
from unrolled_client._transport.target import check_target, is_on_this_machine
from unrolled_client.errors import InvalidRequestError, UnrolledError

DEFAULT_TIMEOUT_S = 30.0

ChannelOptions: TypeAlias = Sequence[tuple[str, Any]]
RootCertificates: TypeAlias = bytes | Literal["default"]
Metadata: TypeAlias = tuple[tuple[str, str], ...]
Spread: TypeAlias = Literal["round_robin", "network"]


class Access(TypedDict, total=False):
    """The credentials among a client's arguments; empty for clear text."""

    root_certificates: RootCertificates | None
    private_key: bytes | None
    certificate_chain: bytes | None
    token: str | None


_MIB = 2**20
_UNLIMITED = -1

_OPTIONS: dict[str, Any] = {
    # The server bounds requests and replies; gRPC's own 4 MiB would only cut large replies off.
    "grpc.max_receive_message_length": _UNLIMITED,
    "grpc.max_send_message_length": _UNLIMITED,
    # Larger requests are not retried; gRPC's default is 256 KiB. This is a server's usual limit and metadata,
    # so that a request that is refused as too large is not sent five times.
    "grpc.per_rpc_retry_buffer_size": 32 * _MIB + 2**16,
    # By default gRPC waits a second before it connects again, during which retries are of no use.
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 5_000,
    # Replies are large: with gRPC's 16 KiB frames and 64 KiB window a call of 6 MB takes a third longer. A
    # stalled reader may be sent as much as the window more.
    "grpc.http2.max_frame_size": _MIB,
    "grpc.http2.lookahead_bytes": 4 * _MIB,
    "grpc.experimental.tcp_read_chunk_size": _MIB // 2,
    "grpc.experimental.tcp_min_read_chunk_size": _MIB // 4,
    # By default servers drop clients that ping more often than every five minutes. This setting also makes
    # Linux give up a peer that acknowledges nothing within the timeout.
    "grpc.keepalive_time_ms": 300_000,
    "grpc.keepalive_timeout_ms": 20_000,
}
NETWORK_HEADER = "unrolled-network"
"""Metadata key of a call's network (docs/operate/load-balancing.md): a hint on which no reply depends."""

# gRPC's ring hash takes its key from a header (its proposal A76) only if this variable is set.
_HEADER_SWITCH = "GRPC_EXPERIMENTAL_RING_HASH_SET_REQUEST_HASH_KEY"
# gRPC's own limit: with 1,024 each of four replicas had 22 to 27 % of the networks.
_RING_SIZE = 4096

# At most five attempts, gRPC's own limit. They last about 1.5 s, enough for a server that restarts, unless
# the server sends the time to retry (grpc-retry-pushback-ms).
_RETRIES = """"methodConfig": [{
    "name": [
        {"service": "unrolled.v1.ForwardService", "method": "Forward"},
        {"service": "unrolled.v1.ForwardService", "method": "GetServerInfo"}
    ],
    "retryPolicy": {
        "maxAttempts": 5,
        "initialBackoff": "0.1s",
        "maxBackoff": "1s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"]
    }
}]"""
_POLICIES: dict[Spread, str] = {
    "round_robin": '{"round_robin": {}}',
    "network": (
        f'{{"ring_hash_experimental": {{"minRingSize": {_RING_SIZE}, "maxRingSize": {_RING_SIZE}, '
        f'"requestHashHeader": "{NETWORK_HEADER}"}}}}'
    ),
}
# The characters that gRPC allows in metadata; its own error would quote the token.
_TOKEN = re.compile(r"[!-~]+")
_PAIR = 2


class HasNetworkKey(Protocol):
    """A request, or the requests of a stream, which go to the replica of their first network."""

    @property
    def network_key(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """The checked arguments of a client that concern its connections; see `Client` for their meaning."""

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
            as_choice("spread", self.spread, _POLICIES)
        if self.spread == "network":
            _enable_network_hashing()
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

    @property
    def metadata(self) -> Metadata | None:
        """Metadata that every call carries."""
        return None if self.token is None else (("authorization", f"Bearer {self.token}"),)

    def metadata_for(self, asked: HasNetworkKey) -> Metadata | None:
        """Returns what a call or stream carries that asks for this network."""
        if self.spread != "network":
            return self.metadata
        return (*(self.metadata or ()), (NETWORK_HEADER, asked.network_key))

    @property
    def credentials(self) -> grpc.ChannelCredentials | None:
        """TLS credentials; None for a channel in clear text."""
        if self.root_certificates is None:
            return None
        roots = None if self.root_certificates == "default" else self.root_certificates
        return grpc.ssl_channel_credentials(roots, self.private_key, self.certificate_chain)

    def arguments(self) -> dict[str, Any]:
        """Returns the constructor's arguments for a client of the same endpoint."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {"tracing": values.pop("is_traced"), **values}

    def error(self, failed: grpc.RpcError) -> UnrolledError:
        """Returns the exception for a failed call."""
        proxy = proxy_in_use(self.target, self.channel_options())
        return error_from_call(failed, target=self.target, proxy=proxy)

    def channel_options(self) -> list[tuple[str, Any]]:
        """Returns the arguments of a channel of this process."""
        # The environment's proxy cannot reach this machine's loopback addresses.
        local = [("grpc.enable_http_proxy", 0)] if is_on_this_machine(self.target) else []
        own: list[tuple[str, Any]] = []
        if self.token is not None and self.root_certificates is None:
            own.append(("grpc.enable_http_proxy", 0))  # a proxy may be on another machine
        if self.channels > 1:  # else gRPC would share one connection
            own.append(("grpc.use_local_subchannel_pool", 1))
        return channel_options((*local, *self.options, *own, *child_options()), spread=self.spread)


def as_options(options: object) -> tuple[tuple[str, Any], ...]:
    """Returns the argument `options` of a client; None is empty."""
    if options is None:
        return ()
    remedy = "pass pairs of name and value: [('grpc.NAME', 1)]"
    if not isinstance(options, Iterable) or isinstance(options, str | bytes | Mapping):
        raise wrong_type("options", options, remedy)
    pairs = list(options)
    for at, pair in enumerate(pairs):
        if not (isinstance(pair, tuple | list) and len(pair) == _PAIR and isinstance(pair[0], str)):
            raise wrong_type(f"options[{at}]", pair, remedy)
    return tuple((name, value) for name, value in pairs)


def _check_token(token: str) -> None:
    """Refuses a token that metadata cannot carry, with an error that does not quote it."""
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
        raise TypeError(  # without the value, which may be a key
            f"{name} is a {type(given).__name__}; give the PEM as bytes, such as Path(...).read_bytes()"
        )


def channel_options(options: ChannelOptions, *, spread: Spread | None = None) -> list[tuple[str, Any]]:
    """Returns the arguments of a channel: this package's, overridden by the user's."""
    return list({**_OPTIONS, "grpc.service_config": service_config(spread), **dict(options)}.items())


def service_config(spread: Spread | None, *, is_retrying: bool = True) -> str:
    """Returns the service config of a channel: its load balancing policy and its retries."""
    # Without `spread` no policy, so that the option grpc.lb_policy_name counts.
    policy = [] if spread is None else [f'"loadBalancingConfig": [{_POLICIES[spread]}]']
    return f"{{{', '.join([*policy, _RETRIES] if is_retrying else policy)}}}"


def _enable_network_hashing() -> None:
    """Makes channels that this process opens from now on heed `NETWORK_HEADER`.

    Clients call it when they are made: an environment should not change while other threads read it.
    """
    if os.environ.get(_HEADER_SWITCH) != "true":
        os.environ[_HEADER_SWITCH] = "true"
