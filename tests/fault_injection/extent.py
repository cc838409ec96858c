"""How much of each fault is put: little in the ordinary suite, much by `make test-faults`.

Tests take a share of one number of seconds and of one number of cases, so that a run is made longer in one
place.
"""

import os

SECONDS = float(os.environ.get("UNROLLED_FAULT_SECONDS", "2"))
"""What a fault that is measured over time lasts."""
CASES = int(os.environ.get("UNROLLED_FAULT_CASES", "3000"))
"""What a fault that is counted counts."""
MIN_TIMED_SECONDS = 20.0
IS_LONG = SECONDS >= MIN_TIMED_SECONDS
"""Whether times mean something: latencies and their ratios are asserted then only."""


def seconds(share: float = 1.0, *, at_most: float | None = None) -> float:
    """A share of the seconds."""
    return SECONDS * share if at_most is None else min(SECONDS * share, at_most)


def cases(share: float = 1.0, *, at_least: int = 1) -> int:
    """A share of the cases."""
    return max(at_least, round(CASES * share))
