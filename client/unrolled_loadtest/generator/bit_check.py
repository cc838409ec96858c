"""Compares the bits of answers to equal requests, at the cost of one digest per answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b

_DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class BitCheckResult:
    """What one process, or several together, found; requests are named by their indices."""

    first_digests: Mapping[int, bytes]  # of the first answer to each request
    equal_counts: Mapping[int, int]  # answers with that digest, the first included
    differing_count: int  # answers with another digest
    first_differing: int | None  # the first request with such an answer


class BitChecker:
    """Compares the answers that one process receives."""

    def __init__(self, request_count: int) -> None:
        self._first_digests: list[bytes | None] = [None] * request_count
        self._equal_counts = [0] * request_count
        self._differing_count = 0
        self._first_differing: int | None = None

    def check(self, index: int, bits: bytes | memoryview) -> None:
        """Compares the bits of an answer with those of the first answer to the same request."""
        digest = blake2b(bits, digest_size=_DIGEST_BYTES).digest()
        first = self._first_digests[index]
        if first is None:
            self._first_digests[index] = digest
        elif first != digest:
            self._differing_count += 1
            if self._first_differing is None:
                self._first_differing = index
            return
        self._equal_counts[index] += 1

    def result(self) -> BitCheckResult:
        """Returns what was found so far."""
        firsts = {index: first for index, first in enumerate(self._first_digests) if first is not None}
        return BitCheckResult(
            first_digests=firsts,
            equal_counts={index: self._equal_counts[index] for index in firsts},
            differing_count=self._differing_count,
            first_differing=self._first_differing,
        )
