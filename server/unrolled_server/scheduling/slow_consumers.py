"""Tracks clients that are slow to read their replies, and picks the connections to close."""

from collections.abc import Iterator
from typing import Protocol

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily

from unrolled_server.scheduling.admission import Admission

# A reply that is not read after this time is slow; large ones over slow networks are, and get their time.
SLOW_S = 1.0
# After this time a slow client may be evicted to make room; a busy client pauses for a second or two.
PATIENCE_S = 5.0


class UnreadReply(Protocol):
    """A reply that gRPC has not sent completely: a unary call's reservation, or a stream."""

    peer: str
    """The connection, as gRPC names it."""

    def mark_slow(self) -> int:
        """Counts its bytes, and those that wait behind it, as a slow client's; returns how many they are."""


class SlowConsumers:
    """The replies that clients have yet to read, which stay in gRPC's memory. Used from one event loop."""

    def __init__(self, admission: Admission, *, send_timeout_s: float) -> None:
        self._admission = admission
        self._send_timeout_s = send_timeout_s
        self._since_s: dict[UnreadReply, float] = {}  # oldest first
        self._evicted: set[str] = set()
        self.evicted_count = 0

    def add(self, reply: UnreadReply, *, now_s: float) -> None:
        """Adds a reply that is about to be given to gRPC."""
        self._since_s[reply] = now_s

    def remove(self, reply: UnreadReply) -> None:
        """Removes a reply that its client has read, or whose client is gone."""
        self._since_s.pop(reply, None)

    def mark_slow(self, *, now_s: float) -> list[str]:
        """Marks slow replies, and returns the connections to close, oldest first; see `evicted`.

        These are the ones that exceeded the send timeout and, of those that exceeded `PATIENCE_S`, as many as
        it takes to bring the bytes of slow clients within their limit.
        """
        slow = [(reply, since_s, reply.mark_slow()) for reply, since_s in self._slow(now_s)]
        self._evicted &= {reply.peer for reply, _, _ in slow}
        closing: list[str] = []
        excess = self._admission.slow_bytes - self._admission.max_slow_bytes
        for reply, since_s, byte_count in slow:
            if now_s - since_s < (PATIENCE_S if excess > 0 else self._send_timeout_s):
                break
            excess -= byte_count
            if reply.peer not in self._evicted:
                closing.append(reply.peer)
        return list(dict.fromkeys(closing))

    def evicted(self, peers: set[str]) -> None:
        """Records that these connections were closed; what they hold is released soon."""
        self._evicted |= peers
        self.evicted_count += len(peers)

    def collect(self) -> Iterator[Metric]:
        """Yields the metric; may be called from any thread."""
        yield CounterMetricFamily(
            "unrolled_clients_sent_away_total",
            "Connections closed because the client did not read its replies.",
            self.evicted_count,
        )

    def _slow(self, now_s: float) -> Iterator[tuple[UnreadReply, float]]:
        for reply, since_s in self._since_s.items():
            if now_s - since_s < SLOW_S:
                return
            yield reply, since_s
