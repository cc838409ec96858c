"""Decides which requests may enter, by the bytes and multiplications that the server already holds."""

import enum
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from unrolled_server.call_context import CallInfo
from unrolled_server.errors import OverloadedError

BYTES_PER_S = 1e9
# A client that holds something may hold this many times what is free, less a quarter: alone half of the limit
# ("dynamic thresholds", Choudhury and Hahne, 1998). So a flood leaves room for the single calls of others.
SHARE_OF_FREE = 2
RESERVED_SHARE = 4
# 1/4 of the byte limit may hold words that streams reuse; another 1/4 replies that slow clients have not
# read.
SHARED_WORDS_SHARE = 4
SLOW_SHARE = 4
# Without a margin, work admitted just before its deadline is late half of the time, and late work is lost.
SAFETY = 1.3
MIN_RETRY_AFTER_S = 0.05
MAX_RETRY_AFTER_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitEstimate:
    """Seconds that a request would wait for the compute thread, and then take."""

    wait_s: float = 0.0
    cost_s: float = 0.0


NO_WAIT = WaitEstimate()


class Refusal(enum.Enum):
    """Why a request was refused."""

    BYTES = "bytes"
    WORK = "work"
    QUEUE = "queue"
    DEADLINE = "deadline"


_GAUGES = {
    "held_bytes": ("unrolled_inflight_bytes", "Requests and replies in flight."),
    "max_bytes": ("unrolled_inflight_limit_bytes", "Beyond this, requests are refused."),
    "reservation_count": ("unrolled_inflight_requests", "Requests in flight, their replies included."),
    "slow_bytes": (
        "unrolled_unread_bytes",
        "Replies that clients are slow to read, and what waits behind them.",
    ),
    "max_slow_bytes": ("unrolled_unread_limit_bytes", "Beyond this, the slowest are sent away."),
    "held_multiplications": (
        "unrolled_waiting_multiplications",
        "Work that is accepted and not computed yet.",
    ),
    "max_multiplications": ("unrolled_waiting_limit_multiplications", "Beyond this, requests are refused."),
}


@dataclass(slots=True)
class _Usage:
    """What one client holds."""

    byte_count: int = 0
    multiplications: int = 0
    reservation_count: int = 0


_NOTHING = _Usage()


@dataclass(slots=True, kw_only=True)
class Admission:
    """Counts what the server holds and refuses what would be too much. Used from one event loop.

    Bytes count until the client has read the reply, multiplications until they are computed. A request that
    alone exceeds a limit enters when nothing else is held.
    """

    max_bytes: int
    max_multiplications: int
    max_queue_s: float = math.inf
    held_bytes: int = 0
    shared_words_bytes: int = 0
    slow_bytes: int = 0
    held_multiplications: int = 0
    reservation_count: int = 0
    refused: dict[Refusal, int] = field(default_factory=lambda: dict.fromkeys(Refusal, 0))
    clients: dict[str, _Usage] = field(default_factory=dict)

    @property
    def max_slow_bytes(self) -> int:
        """Limit for replies that slow clients have not read, which are counted apart."""
        return self.max_bytes // SLOW_SHARE

    def admit(
        self,
        call: CallInfo,
        *,
        byte_count: int,
        multiplications: int,
        estimate: WaitEstimate = NO_WAIT,
        now_s: float = 0.0,
    ) -> "Reservation":
        """Returns the request's reservation, which the caller releases.

        Raises:
            OverloadedError: The server holds too much, or the request would wait too long.
        """
        remaining_s = call.deadline_s - now_s
        reason = self._exceeded_limit(call.client, byte_count, multiplications)
        if reason is not None:
            raise self._refuse(
                reason,
                f"the server is busy: it holds {self.held_bytes >> 20} MiB of requests and replies and "
                f"{self.held_multiplications / 1e9:.1f} billion multiplications, and most of what is free is "
                f"for clients that have less here; try again later",
                retry_after_s=estimate.wait_s + self.held_bytes / BYTES_PER_S,
                remaining_s=remaining_s - estimate.cost_s,
            )
        self.check_wait(estimate, remaining_s=remaining_s)
        return Reservation(self, call, byte_count=byte_count, multiplications=multiplications)

    def check_wait(self, estimate: WaitEstimate, *, remaining_s: float) -> None:
        """Refuses a request that would wait too long; for one that need not wait a retry would not help.

        Raises:
            OverloadedError: See `admit`.
        """
        if not estimate.wait_s:
            return
        done_in_s = SAFETY * (estimate.wait_s + estimate.cost_s)
        if done_in_s > remaining_s:
            raise self._refuse(
                Refusal.DEADLINE,
                f"the server is busy: the request would be done in {done_in_s:.2f} s, and its deadline is in "
                f"{remaining_s:.2f} s; try again later or allow more time",
                retry_after_s=done_in_s - remaining_s,
                remaining_s=-math.inf,  # the wait and the remaining time shrink alike
            )
        if estimate.wait_s > self.max_queue_s:
            raise self._refuse(
                Refusal.QUEUE,
                f"the server is busy: the request would wait for {estimate.wait_s:.2f} s, and this server "
                f"lets {self.max_queue_s:g} s of work wait; try again later",
                retry_after_s=estimate.wait_s - self.max_queue_s,
                remaining_s=remaining_s - estimate.wait_s - estimate.cost_s,
            )

    def reserve_always(self, call: CallInfo, byte_count: int) -> "Reservation":
        """Returns a reservation for a reply that needs no work: a refusal, or one from the cache."""
        return Reservation(self, call, byte_count=byte_count, multiplications=0)

    def reserve(self, byte_count: int) -> bool:
        """Counts words that a stream keeps between requests, if there is room; returns whether there is."""
        if self.shared_words_bytes + byte_count > self.max_bytes // SHARED_WORDS_SHARE:
            return False
        self.shared_words_bytes += byte_count
        return True

    def release(self, byte_count: int) -> None:
        """Gives back bytes that `reserve` counted."""
        self.shared_words_bytes -= byte_count

    def collect(self) -> Iterator[Metric]:
        """Yields the metrics; may be called from any thread."""
        refused = CounterMetricFamily(
            "unrolled_refusals_total", "Requests that admission did not let in.", labels=["reason"]
        )
        for reason, count in self.refused.items():
            refused.add_metric([reason.value], count)
        yield refused
        for attribute, (name, text) in _GAUGES.items():
            yield GaugeMetricFamily(name, text, getattr(self, attribute))

    def _exceeded_limit(self, client: str, byte_count: int, multiplications: int) -> Refusal | None:
        usage = self.clients.get(client) or _NOTHING
        # Slow clients' bytes beyond their own limit count, too: their clients could not be evicted yet.
        total_bytes = self.held_bytes + max(0, self.slow_bytes - self.max_slow_bytes)
        if _exceeds(byte_count, held=usage.byte_count, total=total_bytes, limit=self.max_bytes):
            return Refusal.BYTES
        if _exceeds(
            multiplications,
            held=usage.multiplications,
            total=self.held_multiplications,
            limit=self.max_multiplications,
        ):
            return Refusal.WORK
        return None

    def _refuse(
        self, reason: Refusal, message: str, *, retry_after_s: float, remaining_s: float
    ) -> OverloadedError:
        self.refused[reason] += 1
        retry_after_s = min(max(retry_after_s, MIN_RETRY_AFTER_S), MAX_RETRY_AFTER_S)
        return OverloadedError(message, retry_after_s=retry_after_s, is_in_time=retry_after_s < remaining_s)


def _exceeds(needed: int, *, held: int, total: int, limit: int) -> bool:
    """Returns whether a client that holds `held` may not get `needed` more; all clients hold `total`."""
    if not total:
        return False
    free = limit - total - needed
    return free < 0 or (held > 0 and held + needed > SHARE_OF_FREE * (free - limit // RESERVED_SHARE))


class Reservation:
    """One request's part of what an `Admission` counts. Releasing it twice changes nothing."""

    __slots__ = ("_admission", "_client", "_is_slow", "byte_count", "multiplications", "peer")

    def __init__(
        self, admission: Admission, call: CallInfo, *, byte_count: int, multiplications: int
    ) -> None:
        self._admission: Admission | None = admission
        self._client = client = call.client
        self._is_slow = False
        self.peer = call.peer
        self.byte_count = byte_count
        self.multiplications = multiplications
        usage = admission.clients.get(client)
        if usage is None:
            usage = admission.clients[client] = _Usage()
        usage.byte_count += byte_count
        usage.multiplications += multiplications
        usage.reservation_count += 1
        admission.held_bytes += byte_count
        admission.held_multiplications += multiplications
        admission.reservation_count += 1

    def end_work(self) -> None:
        """Gives back the multiplications: the request is computed, or never will be. Its bytes stay."""
        if self._admission and self.multiplications:
            self._admission.held_multiplications -= self.multiplications
            self._admission.clients[self._client].multiplications -= self.multiplications
            self.multiplications = 0

    def mark_slow(self) -> int:
        """Counts the bytes as a slow client's, no longer against new requests; returns how many they are."""
        if self._admission and not self._is_slow:
            self._is_slow = True
            self._admission.held_bytes -= self.byte_count
            self._admission.slow_bytes += self.byte_count
        return self.byte_count

    def release(self) -> None:
        """Gives everything back."""
        self.end_work()
        admission, self._admission = self._admission, None
        if admission is None:
            return
        if self._is_slow:
            admission.slow_bytes -= self.byte_count
        else:
            admission.held_bytes -= self.byte_count
        admission.reservation_count -= 1
        usage = admission.clients[self._client]
        usage.byte_count -= self.byte_count
        usage.reservation_count -= 1
        if not usage.reservation_count:
            del admission.clients[self._client]
