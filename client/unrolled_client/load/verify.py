"""Whether equal requests have equal answers, at the price of one digest each.

A file of its own because it is the one place that says which bytes of an answer the promise covers.

A server that writes replies as this project does puts what may differ last, so the bytes before are digested
as they are (among them the server's fingerprint). Other servers' replies, which begin with the values as plain
protobuf writes them, are taken apart first.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b

from unrolled.v1.wire import SplitReply, split_reply

from unrolled_client.load.record import Verification
from unrolled_client.result import Result

_DIGEST_BYTES = 16
_VALUES_TAG = b"\x0a"
"""What a reply begins with that has its fields in the order of their numbers."""


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

    def check_reply(self, index: int, reply: bytes, *, end: int) -> None:
        """Takes an answer to a request; what differs between equal ones begins at `end`.

        Raises:
            google.protobuf.message.DecodeError: It is no ForwardReply.
        """
        if reply.startswith(_VALUES_TAG):
            self.check(index, _bits_of(split_reply(reply)))
        else:
            self.check(index, memoryview(reply)[:end])

    def check_result(self, index: int, result: Result) -> None:
        """Takes an answer that the SDK has read."""
        state = () if result.state is None else (result.state.h, result.state.c)
        arrays = [result.outputs, result.lengths, *(array for array in state if array is not None)]
        self.check(index, b"".join([array.tobytes() for array in arrays]))

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


def _bits_of(reply: SplitReply) -> bytes:
    """What the promise covers of a reply, whatever the order of its fields."""
    rest = reply.rest
    for name in ("id", "timing", "fingerprint"):
        rest.ClearField(name)
    head = rest.SerializeToString(deterministic=True)
    return b"".join([len(head).to_bytes(8, "little"), head, reply.values.tobytes(), reply.index.tobytes()])
