"""The duration and number of cases of the fault tests: small by default, large in `make test-faults`.

Each test takes a share of one number of seconds and one number of cases.
"""

import os

SECONDS = float(os.environ.get("UNROLLED_FAULT_SECONDS", "2"))
"""Seconds that a timed test may take."""
CASES = int(os.environ.get("UNROLLED_FAULT_CASES", "3000"))
"""Cases that a counted test tries."""
MIN_TIMED_SECONDS = 20.0
IS_LONG = SECONDS >= MIN_TIMED_SECONDS
"""Whether the run is long enough to assert latencies and their ratios."""


def seconds(share: float = 1.0, *, at_most: float | None = None) -> float:
    """Returns a share of the seconds."""
    return SECONDS * share if at_most is None else min(SECONDS * share, at_most)


def cases(share: float = 1.0, *, at_least: int = 1) -> int:
    """Returns a share of the cases."""
    return max(at_least, round(CASES * share))
