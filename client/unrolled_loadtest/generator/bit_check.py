"""Whether equal requests have equal answers, at the price of one digest each.

A file of its own because it waits for nothing: every process checks what it gets, and one adds up.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b

from unrolled_loadtest.results.record import Verification

_DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What one process found.

    Attributes:
        firsts: The digest of the first answer, by the request's index.
        equal_counts: The answers that had this digest, the first among them.
        differing_count: The answers that had another.
        first_differing: The index of the first request with such an answer; None if there is none.
    """

    firsts: Mapping[int, bytes]
    equal_counts: Mapping[int, int]
    differing_count: int
    first_differing: int | None


class Checker:
    """Compares the answers that one process gets.

    Args:
        request_count: Different requests.
    """

    def __init__(self, request_count: int) -> None:
        self._firsts: list[bytes | None] = [None] * request_count
        self._equal_counts = [0] * request_count
        self._differing_count = 0
        self._first_differing: int | None = None

    def check(self, index: int, bits: bytes | memoryview) -> None:
        """Takes what the promise covers of an answer."""
        digest = blake2b(bits, digest_size=_DIGEST_BYTES).digest()
        first = self._firsts[index]
        if first is None:
            self._firsts[index] = digest
        elif first != digest:
            self._differing_count += 1
            if self._first_differing is None:
                self._first_differing = index
            return
        self._equal_counts[index] += 1

    def checked(self) -> Checked:
        """What was found."""
        firsts = {index: first for index, first in enumerate(self._firsts) if first is not None}
        return Checked(
            firsts=firsts,
            equal_counts={index: self._equal_counts[index] for index in firsts},
            differing_count=self._differing_count,
            first_differing=self._first_differing,
        )


def together(parts: Iterable[Checked]) -> Checked:
    """What several processes found: the first of them that asked a request says what is right."""
    firsts: dict[int, bytes] = {}
    equal_counts: Counter[int] = Counter()
    differing_count, suspects = 0, []
    for part in parts:
        differing_count += part.differing_count
        suspects.append(part.first_differing)
        for index, first in part.firsts.items():
            if firsts.setdefault(index, first) == first:
                equal_counts[index] += part.equal_counts[index]
            else:
                differing_count += part.equal_counts[index]
                suspects.append(index)
    return Checked(
        firsts=firsts,
        equal_counts=equal_counts,
        differing_count=differing_count,
        first_differing=next((index for index in suspects if index is not None), None),
    )


def verification(checked: Checked, *, as_json: Callable[[int], str]) -> Verification:
    """What to report; `as_json` shows a request by its index."""
    answer_count = sum(checked.equal_counts.values()) + checked.differing_count
    first = checked.first_differing
    return Verification(
        mode="bits",
        checked_count=answer_count - len(checked.firsts),
        distinct_count=len(checked.firsts),
        differing_count=checked.differing_count,
        first_differing=None if first is None else as_json(first),
    )
