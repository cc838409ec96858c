"""How long requests wait, by how busy the servers are: Erlang's C, and what follows from it.

Arrivals are random (Poisson), service times exponential. Real service times of one kind of request vary less,
which halves the wait at best; arrivals in bursts lengthen it.
"""

import math


def waiting_share(utilisation: float, *, server_count: int = 1) -> float:
    """Erlang's C: the share of requests that find all servers busy.

    Args:
        utilisation: Of each server, from 0 to below 1.
        server_count: Servers behind one queue.

    Raises:
        ValueError: The queue would grow without end.
    """
    if not 0 <= utilisation < 1:
        raise ValueError(f"utilisation is {utilisation}; it must be 0 or more, and below 1")
    offered = utilisation * server_count
    blocked = 1.0  # Erlang's B, server by server: no factorials
    for count in range(1, server_count + 1):
        blocked = offered * blocked / (count + offered * blocked)
    return blocked / (1 - utilisation * (1 - blocked))


def wait_quantile(share: float, *, utilisation: float, server_count: int = 1) -> float:
    """The wait that this share of requests does not exceed, in service times."""
    waiting = waiting_share(utilisation, server_count=server_count)
    if waiting <= 1 - share:
        return 0.0
    return math.log(waiting / (1 - share)) / (server_count * (1 - utilisation))


def time_quantile(share: float, *, utilisation: float) -> float:
    """Wait and service of one server, not exceeded by this share of requests, in service times."""
    return -math.log(1 - share) / (1 - utilisation)
