"""One call in parts: which words travel together, in which form, and where their states go.

It is a file of its own because it knows neither a connection nor a clock: the synchronous and the
asynchronous client cut and assemble alike.
"""

import re
from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from unrolled.v1.wire import SplitReply

from unrolled_client._codec import EncodedRequest, Request, encode, refuse_surrogates
from unrolled_client._decode import decode_split, states_in
from unrolled_client.errors import FieldViolation, ProtocolError, UnrolledError
from unrolled_client.result import Limits, Result, Timing

# Which of these were measured, and how, is told in docs/architecture.md.
PART_BYTES = 1 << 20
"""Bytes of a part's reply, about."""
MAX_WHOLE_BYTES = 24 << 20
"""Bytes of a dense array up to which a call travels as one request, if the server allows as many."""
DEFAULT_MAX_IN_FLIGHT = 32
"""Batches that `map` takes before the first is handed out."""
MIN_BULK_BYTES = 1 << 20
"""Bytes of a dense array up to which any server is taken to allow them."""
MIN_BULK_WORDS = 1_024
"""The same for words."""
MAX_PART_WORDS = 4_096
"""Words in one request, unless the server allows less."""
MAX_PART_DENSE_BYTES = 16 << 20
"""Bytes of a part's dense array, in whichever form it travels."""
MIN_DISTINCT_BYTES = 512 << 10
"""Bytes of a dense array from which the distinct form is worth the look at the words."""
MAX_DISTINCT_SHARE = 0.6
"""Bytes of the distinct form, to one of the dense form, up to which fewer bytes pay for the gather."""

# What is gathered at a time on the way into the array: it stays in the cache and counts little as memory.
_SCATTERED_BYTES = 2 << 20
_FLOAT_BYTES = 4
_INDEX_BYTES = 4
_COMPARED_WORDS = 4_096
_WORD_INDEX = re.compile(r"\bwords\[(\d+)\]")
_Error = TypeVar("_Error", bound=UnrolledError)


class Assembly(Protocol):
    """One call as requests, and its result out of their replies, which come in any order.

    Attributes:
        part_count: Requests, 1 or more.
    """

    part_count: int

    def encode(self, at: int, *, request_id: str) -> EncodedRequest:
        """Request number `at`."""

    def reply_bytes(self, at: int) -> int:
        """Bytes of its reply, about."""

    def place(self, at: int, reply: SplitReply, *, request: EncodedRequest) -> None:
        """Takes its reply; ProtocolError if that is none."""

    def renamed(self, at: int, error: _Error) -> _Error:
        """The server's refusal of it, with the words' indices as the caller knows them."""

    def result(self) -> Result:
        """What came of it, once every part has its reply."""


def assemble(request: Request, *, limits: Limits) -> Assembly:
    """The call as one request, or in parts if one would be too large.

    Raises:
        InvalidRequestError: A text that the contract cannot carry.
    """
    refuse_surrogates(request.words, request.alphabet)
    return InParts(request, limits=limits) if is_bulk(request, limits) else Whole(request)


def may_be_bulk(request: Request) -> bool:
    """Whether it takes a look at the server's limits to tell whether a call travels in parts."""
    is_large = dense_bytes(request) > MIN_BULK_BYTES or len(request.words) > MIN_BULK_WORDS
    return is_large and request.layout == "batch_first" and request.network.is_for_parts


def is_bulk(request: Request, limits: Limits) -> bool:
    """Whether a call travels in parts; with the layout seq_first its words depend on each other."""
    is_large = dense_bytes(request) > min(MAX_WHOLE_BYTES, limits.max_reply_bytes) or len(
        request.words
    ) > min(MAX_PART_WORDS, limits.max_words)
    is_divisible = request.layout == "batch_first" and request.network.is_for_parts
    return is_large and is_divisible and request.hidden > 0


def dense_bytes(request: Request) -> int:
    """Bytes of the dense array."""
    return len(request.words) * max(request.lengths, default=0) * request.hidden * _FLOAT_BYTES


def encode_whole(request: Request, *, request_id: str = "") -> EncodedRequest:
    """A call as one request, in the form of reply that costs less."""
    size = dense_bytes(request)
    is_distinct = (
        size >= MIN_DISTINCT_BYTES
        and request.layout == "batch_first"
        and not request.network.is_pooled
        and _distinct_bytes(request) <= size * MAX_DISTINCT_SHARE
    )
    return encode(request, is_distinct=is_distinct, request_id=request_id)


def _distinct_bytes(request: Request) -> int:
    rows = 1 + int(new_symbol_counts(sorted(set(request.words))).sum())
    index_bytes = len(request.words) * max(request.lengths) * _INDEX_BYTES
    return rows * request.hidden * _FLOAT_BYTES + index_bytes


def new_symbol_counts(words: Sequence[str]) -> NDArray[np.int64]:
    """(words,): how many symbols each has beyond the prefix that it shares with the word before.

    In a sorted list their sum is the number of distinct prefixes. It is an estimate: where words end in NUL
    it may be too high.
    """
    counts = [_compared(words[max(at - 1, 0) : at + _COMPARED_WORDS]) for at in _steps(len(words))]
    return np.concatenate([counts[0], *(part[1:] for part in counts[1:])])


def _steps(count: int) -> range:
    return range(0, count, _COMPARED_WORDS)


def _compared(words: Sequence[str]) -> NDArray[np.int64]:
    """The same for few words, as one array of code points (words, seq)."""
    counts = np.fromiter(map(len, words), np.int64, len(words))
    codes = np.array(words).view(np.uint32).reshape(len(words), -1)
    counts[1:] -= (codes[1:] != codes[:-1]).argmax(axis=1)
    return counts


class Whole:
    """A call that travels as one request."""

    part_count = 1

    def __init__(self, request: Request) -> None:
        self._request = request
        self._result: Result | None = None

    def encode(self, at: int, *, request_id: str) -> EncodedRequest:  # noqa: ARG002 - Assembly's signature
        """See Assembly."""
        return encode_whole(self._request, request_id=request_id)

    def reply_bytes(self, at: int) -> int:  # noqa: ARG002 - Assembly's signature
        """See Assembly."""
        return dense_bytes(self._request)

    def place(self, at: int, reply: SplitReply, *, request: EncodedRequest) -> None:  # noqa: ARG002 - Assembly's signature
        """See Assembly."""
        self._result = decode_split(reply, request)

    def renamed(self, at: int, error: _Error) -> _Error:  # noqa: ARG002 - Assembly's signature
        """See Assembly; the indices are the caller's already."""
        return error

    def result(self) -> Result:
        """See Assembly."""
        assert self._result is not None  # noqa: S101 - the contract of Assembly
        return self._result


class InParts:
    """A call whose words are sorted, sent once each, in parts, and written into one array.

    Sorted, because neighbours then share their prefixes: a part holds each state once, and the server
    computes it once. Parts are small enough for caches and transport, large enough to cost little each.
    """

    def __init__(self, request: Request, *, limits: Limits) -> None:
        """Plans the parts.

        Args:
            request: One or more words, batch_first.
            limits: The server's.
        """
        self._request = request
        self._words = sorted(set(request.words))
        rank_of = dict(zip(self._words, range(len(self._words)), strict=True))
        ranks = np.fromiter(map(rank_of.__getitem__, request.words), np.int64, len(request.words))
        # The caller's places, ordered by the sorted word that stands there, and that word.
        self._places = np.argsort(ranks, kind="stable")
        self._ranks = ranks[self._places]
        self._plan(limits)
        self._seq = max(request.lengths)
        self._outputs: NDArray[np.float32] | None = None
        self._timings: list[Timing] = []
        self._fingerprints: set[str] = set()

    def _plan(self, limits: Limits) -> None:
        """Cuts the sorted words into parts and chooses each part's form."""
        lengths = np.fromiter(map(len, self._words), np.int64, len(self._words))
        row_bytes = self._request.hidden * _FLOAT_BYTES
        distinct = new_symbol_counts(self._words) * row_bytes + lengths * _INDEX_BYTES
        self._bounds = _cut(distinct=distinct, dense=lengths * row_bytes, limits=limits)
        self.part_count = len(self._bounds) - 1
        first = self._bounds[:-1]
        # A part's words are padded to its longest, in both forms.
        padded = np.diff(self._bounds) * np.maximum.reduceat(lengths, first)
        self._dense_bytes = padded * row_bytes
        padding_bytes = (padded - np.add.reduceat(lengths, first)) * _INDEX_BYTES
        self._distinct_bytes = np.add.reduceat(distinct, first) + padding_bytes

    def encode(self, at: int, *, request_id: str) -> EncodedRequest:
        """See Assembly."""
        part = self._request.with_words(self._words[self._bounds[at] : self._bounds[at + 1]])
        return encode(part, is_distinct=self._is_distinct(at), request_id=request_id)

    def _is_distinct(self, at: int) -> bool:
        return bool(self._distinct_bytes[at] <= self._dense_bytes[at] * MAX_DISTINCT_SHARE)

    def reply_bytes(self, at: int) -> int:
        """See Assembly."""
        return int((self._distinct_bytes if self._is_distinct(at) else self._dense_bytes)[at])

    def place(self, at: int, reply: SplitReply, *, request: EncodedRequest) -> None:
        """See Assembly. Every place of the array is written exactly once, padding included."""
        states = states_in(reply, request)
        outputs = self._array()
        first, seq = self._bounds[at], states.shape[1]
        begin, end = np.searchsorted(self._ranks, self._bounds[at : at + 2]).tolist()
        step = max(1, _SCATTERED_BYTES // (seq * self._request.hidden * _FLOAT_BYTES))
        for chunk in range(begin, end, step):
            taken = slice(chunk, min(chunk + step, end))
            places = self._places[taken]
            outputs[places, :seq] = states.of(self._ranks[taken] - first)
            outputs[places, seq:] = 0
        self._note(reply)

    def _array(self) -> NDArray[np.float32]:
        """The one array; made when the first reply is there."""
        if self._outputs is None:
            shape = (len(self._request.words), self._seq, self._request.hidden)
            self._outputs = np.empty(shape, np.float32)
        return self._outputs

    def _note(self, reply: SplitReply) -> None:
        timing = reply.rest.timing
        self._timings.append(Timing(queue_s=timing.queue_s, compute_s=timing.compute_s))
        self._fingerprints.add(reply.rest.fingerprint)
        if len(self._fingerprints) > 1:
            raise ProtocolError(
                f"servers of different bits answered parts of one call (fingerprints "
                f"{', '.join(sorted(self._fingerprints))}); call again when they are the same"
            )

    def renamed(self, at: int, error: _Error) -> _Error:
        """See Assembly. A word that was sent once for several places goes by its first."""

        def rename(text: str) -> str:
            return _WORD_INDEX.sub(lambda match: f"words[{self._place_of(at, int(match[1]))}]", text)

        return type(error)(
            rename(error.message),
            code=error.code,
            violations=tuple(
                FieldViolation(field=rename(v.field), description=rename(v.description))
                for v in error.violations
            ),
            retry_after_s=error.retry_after_s,
        )

    def _place_of(self, at: int, word_at: int) -> int:
        found = np.searchsorted(self._ranks, self._bounds[at] + word_at)
        return int(self._places[min(found, len(self._places) - 1)])

    def result(self) -> Result:
        """See Assembly."""
        (fingerprint,) = self._fingerprints
        return Result(
            outputs=self._array(),
            lengths=np.array(self._request.lengths, np.int64),
            alphabet=self._request.alphabet,
            layout=self._request.layout,
            timing=Timing(
                queue_s=max(timing.queue_s for timing in self._timings),
                compute_s=sum(timing.compute_s for timing in self._timings),
            ),
            fingerprint=fingerprint,
            network=self._request.network,
        )


def _cut(*, distinct: NDArray[np.int64], dense: NDArray[np.int64], limits: Limits) -> NDArray[np.int64]:
    """(parts + 1,): where parts begin and end in the sorted words, given the bytes of each word.

    Bytes of the reply say where to cut; what that leaves beyond the limits is cut again. For those each word
    is taken to be as long as the longest.
    """
    longest = max(int(dense.max()), 1)
    max_words = min(MAX_PART_WORDS, limits.max_words)
    max_dense_bytes = min(MAX_PART_DENSE_BYTES, limits.max_reply_bytes)
    word_count = max(1, min(max_words, max_dense_bytes // longest))
    share = np.minimum(distinct, dense) / PART_BYTES
    part = np.floor(np.cumsum(share) - share)
    begins = np.flatnonzero(np.diff(part, prepend=-1))
    ends = [*begins[1:].tolist(), len(share)]
    pieces = [range(begin, end, word_count) for begin, end in zip(begins.tolist(), ends, strict=True)]
    return np.array([at for piece in pieces for at in piece] + [len(share)], np.int64)
