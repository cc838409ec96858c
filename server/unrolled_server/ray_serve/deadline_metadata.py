"""Passes a call's deadline from Serve's proxy to a replica as metadata, because Serve does not.

As in gRPC itself the time left travels, not a time of day, because clocks of machines differ.
"""

import time
from collections.abc import Iterable

LEFT_KEY = "unrolled-left-ms"
"""Milliseconds left when the proxy passes the call on."""

Metadata = Iterable[tuple[str, str | bytes]]


def with_time_left(metadata: Metadata, left_s: float | None) -> list[tuple[str, str | bytes]]:
    """Returns a call's metadata with the time left, in place of any that the client sent."""
    kept = [(key, value) for key, value in metadata if key != LEFT_KEY]
    return kept if left_s is None else [*kept, (LEFT_KEY, str(max(0, round(left_s * 1e3))))]


def deadline_in(metadata: Metadata) -> float | None:
    """Returns the deadline of a call that has just arrived, by the monotonic clock; None without one."""
    for key, value in metadata:
        if key == LEFT_KEY:
            return time.monotonic() + int(value) / 1e3
    return None
