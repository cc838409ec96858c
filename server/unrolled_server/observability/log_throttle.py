"""Rate-limits log messages that a client can trigger at will."""

from collections import OrderedDict

INTERVAL_S = 60.0
MAX_KEYS = 100
OTHERS = "others"


class LogThrottle:
    """Lets through one message per key and interval, and counts those in between.

    Keeps `max_keys` keys at a time; all further ones count as one key.
    """

    def __init__(self, *, interval_s: float = INTERVAL_S, max_keys: int = MAX_KEYS) -> None:
        self._interval_s = interval_s
        self._max_keys = max_keys
        self._logged: OrderedDict[str, tuple[float, int]] = OrderedDict()  # oldest first

    def allow(self, key: str, *, now_s: float) -> str | None:
        """Returns what to append to the message (how many were dropped), or None to drop this one, too."""
        self._forget_old(now_s)
        if key not in self._logged and len(self._logged) >= self._max_keys:
            key = OTHERS
        logged_s, dropped_count = self._logged.get(key, (-self._interval_s, 0))
        if now_s - logged_s < self._interval_s:
            self._logged[key] = logged_s, dropped_count + 1
            return None
        self._logged[key] = now_s, 0
        self._logged.move_to_end(key)
        return f" (and {dropped_count} more since this was last logged)" if dropped_count else ""

    def _forget_old(self, now_s: float) -> None:
        """Makes room; messages that were dropped since then stay uncounted."""
        while self._logged:
            key, (logged_s, _) = next(iter(self._logged.items()))
            if now_s - logged_s < 2 * self._interval_s:
                return
            del self._logged[key]
