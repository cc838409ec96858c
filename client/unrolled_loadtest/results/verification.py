"""Merges the bit checks of all processes."""

from collections import Counter
from collections.abc import Callable, Sequence

from unrolled_loadtest.generator.bit_check import BitCheckResult
from unrolled_loadtest.results.record import Verification


def merge_bit_checks(parts: Sequence[BitCheckResult], *, as_json: Callable[[int], str]) -> Verification:
    """Merges what several processes found; the first process with an answer decides which bits are right.

    `as_json` returns the request with an index.
    """
    firsts: dict[int, bytes] = {}
    equal_counts: Counter[int] = Counter()
    differing_count = sum(part.differing_count for part in parts)
    suspects = [part.first_differing for part in parts if part.first_differing is not None]
    for part in parts:
        for index, first in part.first_digests.items():
            if firsts.setdefault(index, first) == first:
                equal_counts[index] += part.equal_counts[index]
            else:
                differing_count += part.equal_counts[index]
                suspects.append(index)
    return Verification(
        mode="bits",
        checked_count=equal_counts.total() + differing_count - len(firsts),
        distinct_count=len(firsts),
        differing_count=differing_count,
        first_differing=as_json(suspects[0]) if suspects else None,
    )
