"""How a call's deadline gets from Serve's proxy, which has it, to a replica, which Serve does not tell.

A file of its own because both ends must agree, and one of them must not load the engine. As in gRPC itself
what is left travels, not a time of day: two machines' clocks differ.
"""

import time
from collections.abc import Iterable

LEFT_KEY = "unrolled-left-ms"
"""The metadata key of the milliseconds that were left when the proxy had the call."""

Metadata = Iterable[tuple[str, str | bytes]]


def with_time_left(metadata: Metadata, left_s: float | None) -> list[tuple[str, str | bytes]]:
    """The call's metadata, and what it has left; a caller's own word for it does not count."""
    kept = [(key, value) for key, value in metadata if key != LEFT_KEY]
    return kept if left_s is None else [*kept, (LEFT_KEY, str(max(0, round(left_s * 1e3))))]


def deadline_in(metadata: Metadata) -> float | None:
    """When a call that has just come is due, by this machine's monotonic clock; None for never."""
    for key, value in metadata:
        if key == LEFT_KEY:
            return time.monotonic() + int(value) / 1e3
    return None
