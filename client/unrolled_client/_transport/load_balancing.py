"""Configures gRPC's load balancing and retries for the replicas behind a target."""

import os
from typing import Literal, Protocol, TypeAlias

Metadata: TypeAlias = tuple[tuple[str, str], ...]
Spread: TypeAlias = Literal["round_robin", "network"]
SPREADS: tuple[Spread, ...] = ("round_robin", "network")

NETWORK_HEADER = "unrolled-network"
"""Metadata key of a call's network (docs/operate/load-balancing.md): a hint on which no reply depends."""

# gRPC's ring hash takes its key from a header (its proposal A76) only if this variable is set.
_HEADER_SWITCH = "GRPC_EXPERIMENTAL_RING_HASH_SET_REQUEST_HASH_KEY"
# gRPC's own limit: with 1,024 each of four replicas had 22 to 27 % of the networks.
_RING_SIZE = 4096

# At most five attempts, gRPC's own limit. They last about 1.5 s, enough for a server that restarts, unless
# the server sets another delay (grpc-retry-pushback-ms).
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


class HasNetworkKey(Protocol):
    """A request, or the requests of a stream, which go to the replica of their first network."""

    @property
    def network_key(self) -> str: ...


def service_config(spread: Spread | None, *, is_retrying: bool = True) -> str:
    """Returns the service config of a channel: its load balancing policy and its retries."""
    # Without `spread` no policy, so that the option grpc.lb_policy_name counts.
    policy = [] if spread is None else [f'"loadBalancingConfig": [{_POLICIES[spread]}]']
    return f"{{{', '.join([*policy, _RETRIES] if is_retrying else policy)}}}"


def enable_network_hashing() -> None:
    """Makes channels that this process opens from now on heed `NETWORK_HEADER`.

    Clients call it when they are made: an environment should not change while other threads read it.
    """
    if os.environ.get(_HEADER_SWITCH) != "true":
        os.environ[_HEADER_SWITCH] = "true"
