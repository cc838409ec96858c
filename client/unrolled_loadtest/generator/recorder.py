"""Checks answers and packs events, in less than a microsecond each."""

import math

from unrolled_loadtest.generator.bit_check import BitChecker
from unrolled_loadtest.generator.events import UNSENT, pack_event
from unrolled_loadtest.generator.pacer import DueRequest
from unrolled_loadtest.generator.reply_reader import Reply
from unrolled_loadtest.workload.requests import Workload


class Recorder:
    """The events of one process, and its requests sent so far and without an answer now."""

    def __init__(self, workload: Workload, checker: BitChecker | None) -> None:
        self.index_of = workload.index_of
        self.sent_count = 0
        self.in_flight_count = 0
        self._checker = checker
        self._events: list[bytes] = []

    def record(  # noqa: PLR0913 - the fields of an event
        self, due: DueRequest, index: int, *, sent_s: float, done_s: float, code: int, reply: Reply | None
    ) -> None:
        """Records a request that was sent; `reply` is None if it was not answered."""
        queue_s = compute_s = math.nan
        if reply is not None and not code:
            bits, queue_s, compute_s, _ = reply
            if self._checker is not None:
                self._checker.check(index, bits)
        self._events.append(pack_event(due.due_s, sent_s, done_s, queue_s, compute_s, code, due.flags))

    def record_unsent(self, due: DueRequest, *, now_s: float) -> None:
        """Records a request that was never sent."""
        self._events.append(pack_event(due.due_s, math.nan, now_s, math.nan, math.nan, UNSENT, due.flags))

    def pop_events(self) -> bytes:
        """Returns the events since the last call."""
        events, self._events = self._events, []
        return b"".join(events)
