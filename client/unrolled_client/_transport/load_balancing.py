"""How calls are spread over the replicas behind a name: what gRPC is told, and what each call tells.

It is a file of its own because gRPC does the work (its load balancing policies resolve names, connect, notice
who is gone and who is back); what is ours is which policy, and the key that keeps a network at one replica.
"""

import os
from typing import Literal, Protocol, TypeAlias

Spread: TypeAlias = Literal["round_robin", "network"]
SPREADS: tuple[Spread, ...] = ("round_robin", "network")

NETWORK_HEADER = "unrolled-network"
"""Metadata key of a call's network (docs/operate/load-balancing.md): a hint on which no reply depends."""

# gRPC's ring hash takes its key from a header (its proposal A76) only in processes that have this variable.
_HEADER_SWITCH = "GRPC_EXPERIMENTAL_RING_HASH_SET_REQUEST_HASH_KEY"
# gRPC's own limit, dealt among the replicas: with 1,024 each of four had 22 to 27 % of the networks.
_RING_SIZE = 4096

# At most five attempts, gRPC's own limit. Without a word from the server they last about 1.5 s: enough
# for one that restarts behind its address, little enough to wait for when it is not there. A server that says
# when to come back (grpc-retry-pushback-ms) is asked then. Written as text, because json would be a twentieth
# of this package's import time.
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


class AboutNetwork(Protocol):
    """A request, or what goes over a stream: it has a network, or begins with one."""

    @property
    def network_key(self) -> str:
        """The value of `NETWORK_HEADER`."""
        ...


def service_config(spread: Spread | None, *, is_retrying: bool = True) -> str:
    """What a channel does with calls: to which replica they go, and whether they go again."""
    # Without `spread` nothing is said of it, so that the option grpc.lb_policy_name counts.
    policy = [] if spread is None else [f'"loadBalancingConfig": [{_POLICIES[spread]}]']
    return f"{{{', '.join([*policy, _RETRIES] if is_retrying else policy)}}}"


def let_grpc_hash_networks() -> None:
    """Has channels that this process opens from now on heed the header; others are as they were.

    It is done when a client is made, which is early and rare: a process's environment is no place to write to
    while other threads read it.
    """
    if os.environ.get(_HEADER_SWITCH) != "true":
        os.environ[_HEADER_SWITCH] = "true"
