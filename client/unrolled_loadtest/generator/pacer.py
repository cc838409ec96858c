"""Hands out requests when they are due, and says of each whether it had to wait for room.

A file of its own because it is where intended times meet the event loop. The loop's selector must keep
microseconds: epoll and uvloop round to milliseconds, which would be in every latency.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol, TypeAlias

from unrolled_loadtest.generator.events import IS_HELD
from unrolled_loadtest.workload.arrivals import Due


class Item(NamedTuple):
    """A request that is due.

    Attributes:
        number: In the whole run.
        due_s: From the measurement's begin.
        flags: See `events`.
    """

    number: int
    due_s: float
    flags: int = 0


Sleeper: TypeAlias = "asyncio.Future[Item | None]"


class Source(Protocol):
    """Where requests come from.

    Attributes:
        next_s: When the next one is due; infinite if there is none.
    """

    next_s: float

    def take(self, now_s: float) -> Item | None:
        """The next request; None while none is due."""


class OpenSource:
    """Requests at times of their own."""

    def __init__(self, blocks: Iterator[Due]) -> None:
        self._next = 0
        self.next_s = math.inf
        self._items = (
            item for numbers, times in blocks for item in zip(numbers.tolist(), times.tolist(), strict=True)
        )
        self._advance()

    def take(self, now_s: float) -> Item | None:
        """See Source."""
        if self.next_s > now_s:
            return None
        item = Item(self._next, self.next_s)
        self._advance()
        return item

    def _advance(self) -> None:
        self._next, self.next_s = next(self._items, (0, math.inf))


class ClosedSource:
    """Requests that are due whenever somebody asks for one."""

    def __init__(self, *, begin_s: float, process: int, process_count: int) -> None:
        self.next_s = begin_s
        self._number = process
        self._step = process_count

    def take(self, now_s: float) -> Item | None:
        """See Source."""
        if self.next_s > now_s:
            return None
        number = self._number
        self._number += self._step
        return Item(number, now_s)


class Pacer:
    """Gives requests to lanes, which send them one after the other. For one event loop.

    Args:
        source: Of the requests.
        origin: When the measurement begins, on the monotonic clock.
        start_lane: Starts a lane, which begins with this request.
        max_lanes: Lanes that it may start; others may come by themselves.
    """

    def __init__(
        self, source: Source, *, origin: float, start_lane: Callable[[Item], None], max_lanes: int
    ) -> None:
        self._source = source
        self._origin = origin
        self._start_lane = start_lane
        self._max_lanes = max_lanes
        self._lane_count = 0
        self._loop = asyncio.get_running_loop()
        self._parked: deque[Sleeper] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._is_full = False
        self.is_over = False

    def now_s(self) -> float:
        """Seconds from the measurement's begin."""
        return time.monotonic() - self._origin

    def start(self) -> None:
        """Begins to hand out requests."""
        self._set_timer()

    def take(self) -> Item | None:
        """A request that is due, for a lane that is free; None if it is to park."""
        if self.is_over:
            return None
        item = self._source.take(self.now_s())
        if item is None:
            self._is_full = False
            self._set_timer()
        elif self._is_full:
            return item._replace(flags=IS_HELD)
        return item

    def park(self) -> Sleeper:
        """What a lane waits for when it has nothing to do: a request, or None when it is all over."""
        sleeper: Sleeper = self._loop.create_future()
        if self.is_over:
            sleeper.set_result(None)
        else:
            self._parked.append(sleeper)
        return sleeper

    def end(self) -> Iterator[Item]:
        """Sends every lane home, and gives what was due by now and not sent."""
        self.is_over = True
        if self._timer is not None:
            self._timer.cancel()
        for sleeper in self._parked:
            if not sleeper.done():
                sleeper.set_result(None)
        now_s = self.now_s()
        if isinstance(self._source, OpenSource):
            while (item := self._source.take(now_s)) is not None:
                yield item

    def _set_timer(self) -> None:
        if self._timer is None and self._source.next_s < math.inf:
            self._timer = self._loop.call_at(self._origin + self._source.next_s, self._fire)

    def _fire(self) -> None:
        """Gives out what is due, as far as there is room; what is beyond is taken by the next free lane."""
        self._timer = None
        now_s = self.now_s()
        while self._parked and not self.is_over:
            if self._parked[0].done():  # its lane is gone
                self._parked.popleft()
            elif (item := self._source.take(now_s)) is not None:
                self._parked.popleft().set_result(item)
            else:
                break
        while not self.is_over and self._source.next_s <= now_s:
            if self._lane_count == self._max_lanes:
                self._is_full = True
                return  # whoever finds nothing more due sets the timer again
            item = self._source.take(now_s)
            assert item is not None  # noqa: S101 - it is due
            self._lane_count += 1
            self._start_lane(item)
        if not self.is_over:
            self._set_timer()
