"""Messages that may come as often as an attacker likes, told seldom.

It decides and waits for nothing; the clock is an argument.
"""

from collections import OrderedDict

INTERVAL_S = 60.0
MAX_KEYS = 100
OTHERS = "others"


class Seldom:
    """Lets one message of each kind through in an interval, and counts those in between.

    Args:
        interval_s: Between two messages of one kind.
        max_keys: Kinds told apart at a time; all further ones are one kind.
    """

    def __init__(self, *, interval_s: float = INTERVAL_S, max_keys: int = MAX_KEYS) -> None:
        self._interval_s = interval_s
        self._max_keys = max_keys
        self._told: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def due(self, key: str, *, now_s: float) -> str | None:
        """What to add to the message, which tells how many were kept back; None to keep this one back too."""
        self._forget_old(now_s)
        if key not in self._told and len(self._told) >= self._max_keys:
            key = OTHERS
        told_s, kept_count = self._told.get(key, (-self._interval_s, 0))
        if now_s - told_s < self._interval_s:
            self._told[key] = told_s, kept_count + 1
            return None
        self._told[key] = now_s, 0
        self._told.move_to_end(key)
        return f" (and {kept_count} more since this was last told)" if kept_count else ""

    def _forget_old(self, now_s: float) -> None:
        """Makes room; what a kind kept back in its last interval is then not told."""
        while self._told:
            key, (told_s, _) = next(iter(self._told.items()))
            if now_s - told_s < 2 * self._interval_s:
                return
            del self._told[key]
