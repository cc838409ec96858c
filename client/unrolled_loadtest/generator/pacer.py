"""Hands out requests when they are due and marks those that had to wait for room.

The event loop's selector must keep microseconds: epoll and uvloop round timers to milliseconds, which every
latency would include.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple, TypeAlias

from unrolled_loadtest.generator.events import FLAG_AT_LIMIT
from unrolled_loadtest.workload.arrivals import DueBlock


class DueRequest(NamedTuple):
    """A request that is due."""

    number: int  # in the run
    due_s: float  # from the start of the measurement
    flags: int = 0  # of its event


Waiter: TypeAlias = "asyncio.Future[DueRequest | None]"


class OpenLoopSource:
    """Requests that are due by a schedule; the next one at `next_s`, infinity after the last."""

    def __init__(self, blocks: Iterator[DueBlock]) -> None:
        self._next = 0
        self.next_s = math.inf
        self._schedule = (
            pair for numbers, times in blocks for pair in zip(numbers.tolist(), times.tolist(), strict=True)
        )
        self._advance()

    def pop(self, now_s: float) -> DueRequest | None:
        """Returns the next request; None while none is due."""
        if self.next_s > now_s:
            return None
        due = DueRequest(self._next, self.next_s)
        self._advance()
        return due

    def _advance(self) -> None:
        self._next, self.next_s = next(self._schedule, (0, math.inf))


class ClosedLoopSource:
    """Requests that are due whenever a lane is free."""

    def __init__(self, *, begin_s: float, process: int, process_count: int) -> None:
        self.next_s = begin_s
        self._number = process
        self._step = process_count

    def pop(self, now_s: float) -> DueRequest | None:
        """Returns the next request; None before the load begins."""
        if self.next_s > now_s:
            return None
        number = self._number
        self._number += self._step
        return DueRequest(number, now_s)


RequestSource: TypeAlias = OpenLoopSource | ClosedLoopSource


class Pacer:
    """Gives requests to lanes, which send them one after the other. For one event loop.

    `origin` is when the measurement begins, on the monotonic clock. `start_lane` starts a lane with its first
    request, for up to `max_lanes` lanes; streams are lanes that the pacer does not start.
    """

    def __init__(
        self,
        source: RequestSource,
        *,
        origin: float,
        start_lane: Callable[[DueRequest], None],
        max_lanes: int,
    ) -> None:
        self._source = source
        self._origin = origin
        self._start_lane = start_lane
        self._max_lanes = max_lanes
        self._lane_count = 0
        self._loop = asyncio.get_running_loop()
        self._waiters: deque[Waiter] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._is_full = False
        self.is_stopped = False

    def now_s(self) -> float:
        """Returns the seconds from the start of the measurement."""
        return time.monotonic() - self._origin

    def start(self) -> None:
        """Begins to hand out requests."""
        self._set_timer()

    def pop(self) -> DueRequest | None:
        """Returns a request that is due, for a free lane; None if the lane must wait."""
        if self.is_stopped:
            return None
        due = self._source.pop(self.now_s())
        if due is None:
            self._is_full = False
            self._set_timer()
        elif self._is_full:
            return due._replace(flags=FLAG_AT_LIMIT)
        return due

    def wait(self) -> Waiter:
        """Returns a future of the next request for a free lane, or of None at the end of the run."""
        waiter: Waiter = self._loop.create_future()
        if self.is_stopped:
            waiter.set_result(None)
        else:
            self._waiters.append(waiter)
        return waiter

    def stop(self) -> list[DueRequest]:
        """Ends all lanes that wait, and returns the requests that are due and were not sent."""
        self.is_stopped = True
        if self._timer is not None:
            self._timer.cancel()
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        if not isinstance(self._source, OpenLoopSource):
            return []
        return list(iter(partial(self._source.pop, self.now_s()), None))

    def _set_timer(self) -> None:
        if self._timer is None and self._source.next_s < math.inf:
            self._timer = self._loop.call_at(self._origin + self._source.next_s, self._hand_out)

    def _hand_out(self) -> None:
        """Gives due requests to lanes while there is room; the next free lane pops the others."""
        self._timer = None
        now_s = self.now_s()
        while self._waiters and not self.is_stopped:
            if self._waiters[0].done():  # its lane was cancelled
                self._waiters.popleft()
            elif (due := self._source.pop(now_s)) is not None:
                self._waiters.popleft().set_result(due)
            else:
                break
        while not self.is_stopped and self._source.next_s <= now_s:
            if self._lane_count == self._max_lanes:
                self._is_full = True
                return  # the lane that finds nothing more due sets the timer again
            due = self._source.pop(now_s)
            assert due is not None  # noqa: S101 - next_s is reached
            self._lane_count += 1
            self._start_lane(due)
        if not self.is_stopped:
            self._set_timer()
