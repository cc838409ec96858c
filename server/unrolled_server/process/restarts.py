"""What to do when a worker has died: a decision without processes or clocks."""

SOON_S = 1.0
"""A worker that served for less than this died soon."""
FIRST_DELAY_S = 0.25
MAX_DELAY_S = 30.0
MAX_UNSERVED_COUNT = 5
"""Workers that die one after another before they serve, until there is little use in more."""


class Restarts:
    """Counts deaths that follow each other, of all the workers of a server."""

    def __init__(self) -> None:
        self._next_delay_s = FIRST_DELAY_S
        self._unserved_count = 0

    @property
    def is_blocked(self) -> bool:
        """Whether so many died before they served that another is hardly of use."""
        return self._unserved_count >= MAX_UNSERVED_COUNT

    def delay_s(self, *, served_s: float | None, others_serve: bool) -> float | None:
        """How long to wait before the dead worker is replaced; None when there is no use in another.

        A worker that had served is replaced at once, because whatever killed it did not hinder its start. One
        that could not start, or died soon after, is likely to do so again: each of these waits twice as long
        as the one before. Only workers that never served end the whole, and only when no others serve: those
        have callers, and what hinders a start may pass.

        Args:
            served_s: How long the dead worker had served; None if it never did.
            others_serve: Whether another worker serves now.
        """
        if served_s is not None and served_s >= SOON_S:
            self._next_delay_s, self._unserved_count = FIRST_DELAY_S, 0
            return 0.0
        self._unserved_count = self._unserved_count + 1 if served_s is None else 0
        if self.is_blocked:
            return MAX_DELAY_S if others_serve else None
        delay_s, self._next_delay_s = self._next_delay_s, min(2 * self._next_delay_s, MAX_DELAY_S)
        return delay_s
