"""Clients that are slow to read: what they hold up is counted by itself, and in the end they are sent away.

A file of its own because it is the one rule that ends what was accepted: a reply that nobody reads stays in
gRPC's memory, and so does all that its stream has behind it. It decides without clocks or sockets.
"""

from collections.abc import Iterator
from typing import Protocol

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily

from unrolled_server.scheduling.admission import Admission

# A reply that is not taken after this is slow. Large ones over poor lines are, and still get their time.
SLOW_S = 1.0
# A client that was slow for so long may be sent away; a busy one pauses for a second or two.
PATIENCE_S = 5.0


class Unread(Protocol):
    """A reply that gRPC has, and what waits behind it: a unary call's, or a stream."""

    peer: str
    """The connection, as gRPC names it."""

    def set_aside(self) -> int:
        """Counts its bytes as those of a slow reader, also if they were before; gives how many they are."""


class SlowReaders:
    """Knows the replies that clients have yet to read. Used from one event loop.

    Args:
        admission: Counts their bytes.
        send_timeout_s: What a client may take to read one reply.

    Attributes:
        sent_away_count: Connections that were closed so far.
    """

    def __init__(self, admission: Admission, *, send_timeout_s: float) -> None:
        self._admission = admission
        self._send_timeout_s = send_timeout_s
        self._begun_s: dict[Unread, float] = {}  # oldest first
        self._sent_away: set[str] = set()
        self.sent_away_count = 0

    def begin(self, unread: Unread, *, now_s: float) -> None:
        """A reply was given to gRPC."""
        self._begun_s[unread] = now_s

    def end(self, unread: Unread) -> None:
        """Its client has taken it, or is gone."""
        self._begun_s.pop(unread, None)

    def look(self, *, now_s: float) -> list[str]:
        """Sets the slow ones aside, and gives the connections to close, oldest first; tell which were closed.

        Those are closed that took more than the send timeout, and of those that lost patience as many as it
        takes to keep the bytes of slow readers within their limit.
        """
        slow = [(unread, begun_s, unread.set_aside()) for unread, begun_s in self._slow(now_s)]
        self._sent_away &= {unread.peer for unread, _, _ in slow}
        closing: list[str] = []
        excess = self._admission.slow_bytes - self._admission.max_slow_bytes
        for unread, begun_s, byte_count in slow:
            if now_s - begun_s < (PATIENCE_S if excess > 0 else self._send_timeout_s):
                break
            excess -= byte_count
            if unread.peer not in self._sent_away:
                closing.append(unread.peer)
        return list(dict.fromkeys(closing))

    def closed(self, peers: set[str]) -> None:
        """These connections were closed; what they have here goes soon."""
        self._sent_away |= peers
        self.sent_away_count += len(peers)

    def collect(self) -> Iterator[Metric]:
        """Yields the metric; may be called from any thread."""
        yield CounterMetricFamily(
            "unrolled_clients_sent_away_total",
            "Connections closed because the client did not read its replies.",
            self.sent_away_count,
        )

    def _slow(self, now_s: float) -> Iterator[tuple[Unread, float]]:
        for unread, begun_s in self._begun_s.items():
            if now_s - begun_s < SLOW_S:
                return
            yield unread, begun_s
