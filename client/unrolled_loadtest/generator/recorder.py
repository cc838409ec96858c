"""Notes what became of each request, for less than a microsecond.

A file of its own because it is where answers are checked and events are written, however they travelled.
"""

import math

from unrolled_loadtest.generator.bit_check import Checker
from unrolled_loadtest.generator.events import UNSENT, pack_event
from unrolled_loadtest.generator.pacer import Item
from unrolled_loadtest.generator.reply_reader import Reply
from unrolled_loadtest.workload.requests import Workload


class Ledger:
    """The events of one process, since they were last taken.

    Attributes:
        index_of: The request that is asked as number so many.
        sent_count: Requests sent so far.
        in_flight_count: Requests without an answer now.
    """

    def __init__(self, workload: Workload, checker: Checker | None) -> None:
        """`checker` compares the answers; None leaves them."""
        self.index_of = workload.index_of
        self.sent_count = 0
        self.in_flight_count = 0
        self._checker = checker
        self._events: list[bytes] = []

    def note(  # noqa: PLR0913 - what an event has
        self, item: Item, index: int, *, sent_s: float, done_s: float, code: int, reply: Reply | None
    ) -> None:
        """Notes a request that was sent; with a reply if it was answered."""
        queue_s = compute_s = math.nan
        if reply is not None and not code:
            bits, queue_s, compute_s, _ = reply
            if self._checker is not None:
                self._checker.check(index, bits)
        self._events.append(pack_event(item.due_s, sent_s, done_s, queue_s, compute_s, code, item.flags))

    def note_unsent(self, item: Item, *, now_s: float) -> None:
        """Notes a request that never was sent."""
        event = pack_event(item.due_s, math.nan, now_s, math.nan, math.nan, UNSENT, item.flags)
        self._events.append(event)

    def take_events(self) -> bytes:
        """What was noted since this was last called."""
        events, self._events = self._events, []
        return b"".join(events)
