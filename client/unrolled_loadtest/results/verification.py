"""Merges the bit checks of all processes and puts them into the record's terms."""

from collections import Counter
from collections.abc import Callable, Iterable

from unrolled_loadtest.generator.bit_check import BitCheckResult
from unrolled_loadtest.results.record import Verification


def merge_bit_checks(parts: Iterable[BitCheckResult]) -> BitCheckResult:
    """Merges what several processes found; the first process with an answer decides which bits are right."""
    firsts: dict[int, bytes] = {}
    equal_counts: Counter[int] = Counter()
    differing_count, suspects = 0, []
    for part in parts:
        differing_count += part.differing_count
        suspects.append(part.first_differing)
        for index, first in part.first_digests.items():
            if firsts.setdefault(index, first) == first:
                equal_counts[index] += part.equal_counts[index]
            else:
                differing_count += part.equal_counts[index]
                suspects.append(index)
    return BitCheckResult(
        first_digests=firsts,
        equal_counts=equal_counts,
        differing_count=differing_count,
        first_differing=next((index for index in suspects if index is not None), None),
    )


def make_verification(found: BitCheckResult, *, as_json: Callable[[int], str]) -> Verification:
    """Returns what the record says of it; `as_json` returns the request with an index."""
    answer_count = sum(found.equal_counts.values()) + found.differing_count
    first = found.first_differing
    return Verification(
        mode="bits",
        checked_count=answer_count - len(found.first_digests),
        distinct_count=len(found.first_digests),
        differing_count=found.differing_count,
        first_differing=None if first is None else as_json(first),
    )
