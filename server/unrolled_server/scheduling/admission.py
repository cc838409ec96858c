"""May a request come in? One rule for unary calls and streams: a decision without threads, clocks or sockets.

What is held is counted twice: in bytes, of requests and of their replies until the client has taken them; and
in multiplications, of what is not computed yet. Beyond a limit a request is refused at once, and so is one
that would not be done by its deadline, because a queue that outlasts its callers' deadlines serves nobody. A
request that alone exceeds a limit comes in when nothing else is there.

Who holds much gets no more than a part of what is free ("dynamic thresholds", Choudhury and Hahne, 1998), and
none of the last quarter. So floods leave room for another's single calls.
"""

import enum
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from unrolled_server.errors import OverloadedError

BYTES_PER_S = 1e9
# A client that holds something may hold so many times what is free, less a quarter: alone half of the whole.
SHARE_OF_FREE = 2
RESERVED_SHARE = 4
# The part of the bytes that streams may keep between requests, beside what is in flight; and another for
# replies that clients are slow to read.
KEPT_SHARE = 4
SLOW_SHARE = 4
# Without, work let in at its deadline's very edge is as often late as not, and late work is lost.
SAFETY = 1.3
MIN_RETRY_AFTER_S = 0.05
MAX_RETRY_AFTER_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """On what terms a request comes.

    Attributes:
        client: On whose account.
        peer: The connection, as gRPC names it.
        deadline_s: Until when its answer is of use, in the monotonic clock's seconds.
    """

    client: str
    peer: str = ""
    deadline_s: float = math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Seconds that a request would wait for its compute thread, and then take."""

    wait_s: float = 0.0
    cost_s: float = 0.0


NO_WAIT = Forecast()


class Refusal(enum.Enum):
    """Why a request is not let in."""

    BYTES = "bytes"
    WORK = "work"
    QUEUE = "queue"
    DEADLINE = "deadline"


@dataclass(slots=True)
class _Held:
    """What one client has here."""

    byte_count: int = 0
    multiplications: int = 0
    ticket_count: int = 0


@dataclass(slots=True, kw_only=True)
class Admission:
    """Counts what is accepted and refuses what would be too much. Used from one event loop.

    Attributes:
        max_bytes: Of requests and replies.
        max_multiplications: Of floats, among requests that are not computed yet.
        max_queue_s: Seconds that a request may have to wait for others.
        refused: Requests that were not let in, by reason.
    """

    max_bytes: int
    max_multiplications: int
    max_queue_s: float = math.inf
    held_bytes: int = 0
    kept_bytes: int = 0
    slow_bytes: int = 0
    held_multiplications: int = 0
    ticket_count: int = 0
    refused: dict[Refusal, int] = field(default_factory=lambda: dict.fromkeys(Refusal, 0))
    clients: dict[str, _Held] = field(default_factory=dict)

    def admit(
        self,
        terms: Terms,
        *,
        byte_count: int,
        multiplications: int,
        forecast: Forecast = NO_WAIT,
        now_s: float = 0.0,
    ) -> "Ticket":
        """Lets a request in; the caller releases its ticket.

        Raises:
            OverloadedError: Too much is here already, or its deadline is too near. A retry helps, after the
                time that it tells.
        """
        left_s = terms.deadline_s - now_s
        reason = self._limit_passed(terms.client, byte_count, multiplications)
        if reason is not None:
            raise self._refuse(
                reason,
                f"the server is busy: it holds {self.held_bytes >> 20} MiB of requests and replies and "
                f"{self.held_multiplications / 1e9:.1f} billion multiplications, and most of what is free is "
                f"for clients that have less here; try again later",
                retry_after_s=forecast.wait_s + self.held_bytes / BYTES_PER_S,
                left_s=left_s - forecast.cost_s,
            )
        self.look_ahead(forecast, left_s=left_s)
        return Ticket(self, terms.client, byte_count=byte_count, multiplications=multiplications)

    def look_ahead(self, forecast: Forecast, *, left_s: float) -> None:
        """Refuses what would wait too long. What need not wait comes in: to come back would not help it.

        Raises:
            OverloadedError: As `admit`.
        """
        if not forecast.wait_s:
            return
        done_in_s = SAFETY * (forecast.wait_s + forecast.cost_s)
        if done_in_s > left_s:
            raise self._refuse(
                Refusal.DEADLINE,
                f"the server is busy: the request would be done in {done_in_s:.2f} s, and its deadline is in "
                f"{left_s:.2f} s; try again later or allow more time",
                retry_after_s=done_in_s - left_s,
                left_s=-math.inf,  # what waits and what is left of its time shrink alike
            )
        if forecast.wait_s > self.max_queue_s:
            raise self._refuse(
                Refusal.QUEUE,
                f"the server is busy: the request would wait for {forecast.wait_s:.2f} s, and this server "
                f"lets {self.max_queue_s:g} s of work wait; try again later",
                retry_after_s=forecast.wait_s - self.max_queue_s,
                left_s=left_s - forecast.wait_s - forecast.cost_s,
            )

    def keep(self, byte_count: int) -> bool:
        """Whether there is room for bytes that a stream keeps between requests; if so they count.

        They have a part of their own, so that streams that keep much hold up no requests. Who keeps them
        takes them off `kept_bytes` again.
        """
        if self.kept_bytes + byte_count > self.max_bytes // KEPT_SHARE:
            return False
        self.kept_bytes += byte_count
        return True

    def hold(self, terms: Terms, byte_count: int) -> "Ticket":
        """Counts what can't be refused: a refusal on its way."""
        return Ticket(self, terms.client, byte_count=byte_count, multiplications=0)

    @property
    def max_slow_bytes(self) -> int:
        """Of replies that clients are slow to read, which are counted by themselves."""
        return self.max_bytes // SLOW_SHARE

    def collect(self) -> Iterator[Metric]:
        """Yields the metrics; may be called from any thread."""
        refused = CounterMetricFamily(
            "unrolled_refusals_total", "Requests that admission did not let in.", labels=["reason"]
        )
        for reason, count in self.refused.items():
            refused.add_metric([reason.value], count)
        yield refused
        yield GaugeMetricFamily("unrolled_inflight_bytes", "Requests and replies in flight.", self.held_bytes)
        yield GaugeMetricFamily(
            "unrolled_inflight_limit_bytes", "Beyond this, requests are refused.", self.max_bytes
        )
        yield GaugeMetricFamily(
            "unrolled_inflight_requests", "Requests in flight, their replies included.", self.ticket_count
        )
        yield GaugeMetricFamily(
            "unrolled_unread_bytes",
            "Replies that clients are slow to read, and what waits behind them.",
            self.slow_bytes,
        )
        yield GaugeMetricFamily(
            "unrolled_unread_limit_bytes", "Beyond this, the slowest are sent away.", self.max_slow_bytes
        )
        yield GaugeMetricFamily(
            "unrolled_waiting_multiplications",
            "Work that is accepted and not computed yet.",
            self.held_multiplications,
        )
        yield GaugeMetricFamily(
            "unrolled_waiting_limit_multiplications",
            "Beyond this, requests are refused.",
            self.max_multiplications,
        )

    def _limit_passed(self, client: str, byte_count: int, multiplications: int) -> Refusal | None:
        # What is there comes first: a lone request passes no limit.
        held = self.clients.get(client) or _NOTHING
        unread_beyond = max(0, self.slow_bytes - self.max_slow_bytes)  # nobody could be sent away for these
        in_all = self.held_bytes + unread_beyond
        if _is_beyond(byte_count, held=held.byte_count, in_all=in_all, limit=self.max_bytes):
            return Refusal.BYTES
        if _is_beyond(
            multiplications,
            held=held.multiplications,
            in_all=self.held_multiplications,
            limit=self.max_multiplications,
        ):
            return Refusal.WORK
        return None

    def _refuse(
        self, reason: Refusal, message: str, *, retry_after_s: float, left_s: float
    ) -> OverloadedError:
        self.refused[reason] += 1
        retry_after_s = min(max(retry_after_s, MIN_RETRY_AFTER_S), MAX_RETRY_AFTER_S)
        return OverloadedError(message, retry_after_s=retry_after_s, is_in_time=retry_after_s < left_s)


_NOTHING = _Held()


def _is_beyond(needed: int, *, held: int, in_all: int, limit: int) -> bool:
    """Whether a client that has `held` may not have `needed` more where there are `in_all` of `limit`."""
    if not in_all:
        return False
    left = limit - in_all - needed
    return left < 0 or (held > 0 and held + needed > SHARE_OF_FREE * (left - limit // RESERVED_SHARE))


class Ticket:
    """One request's part of what an `Admission` counts. Giving it back twice changes nothing."""

    __slots__ = ("_admission", "_client", "_is_slow", "byte_count", "multiplications")

    def __init__(self, admission: Admission, client: str, *, byte_count: int, multiplications: int) -> None:
        self._admission: Admission | None = admission
        self._client = client
        self._is_slow = False
        self.byte_count = byte_count
        self.multiplications = multiplications
        held = admission.clients.get(client)
        if held is None:
            held = admission.clients[client] = _Held()
        held.byte_count += byte_count
        held.multiplications += multiplications
        held.ticket_count += 1
        admission.held_bytes += byte_count
        admission.held_multiplications += multiplications
        admission.ticket_count += 1

    def end_work(self) -> None:
        """The request is computed, or never will be; its bytes stay."""
        if self._admission and self.multiplications:
            self._admission.held_multiplications -= self.multiplications
            self._admission.clients[self._client].multiplications -= self.multiplications
            self.multiplications = 0

    def set_aside(self) -> None:
        """Its client is slow to read: its bytes are counted by themselves, not against new requests."""
        if self._admission and not self._is_slow:
            self._is_slow = True
            self._admission.held_bytes -= self.byte_count
            self._admission.slow_bytes += self.byte_count

    def release(self) -> None:
        """Everything of the request is gone."""
        self.end_work()
        admission, self._admission = self._admission, None
        if admission is None:
            return
        if self._is_slow:
            admission.slow_bytes -= self.byte_count
        else:
            admission.held_bytes -= self.byte_count
        admission.ticket_count -= 1
        held = admission.clients[self._client]
        held.byte_count -= self.byte_count
        held.ticket_count -= 1
        if not held.ticket_count:
            del admission.clients[self._client]
