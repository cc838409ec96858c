"""One call in parts: which words travel together, in which form, and where their states go.

It is a file of its own because few calls are that large; it is loaded by those that are.
"""

import re
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from unrolled.v1.wire import SplitReply

from unrolled_client._messages.decoding import States, result_of, state_in, states_in, timing_in
from unrolled_client._messages.encoding import EncodedRequest, Request, encode
from unrolled_client._streaming.exchange import MAX_BYTES_IN_FLIGHT
from unrolled_client._streaming.prefix_sharing import new_state_counts, sorted_for_sharing
from unrolled_client._streaming.sizing import (
    FLOAT_BYTES,
    INDEX_BYTES,
    MAX_DISTINCT_SHARE,
    MAX_LETTER_BYTES,
    MAX_PART_WORDS,
    may_share,
    state_bytes,
)
from unrolled_client.errors import FieldViolation, ProtocolError, UnrolledError
from unrolled_client.results import Limits, Result, State, Timing

# How they were measured is told in docs/architecture.md.
PART_BYTES = 1 << 20
"""Bytes of a part's larger message, about."""
POOLED_PART_BYTES = 64 << 20
"""Bytes of the states that are pooled in a part, about; what is sent of them is less."""
POOLED_PART_MULTIPLICATIONS = 1 << 33
"""What a part of a pooled call costs to compute, about: some tenths of a second on one core."""
POOLED_PARTS_IN_FLIGHT = 4
"""Parts of a pooled call that are on the way at a time, though their replies are small."""
MAX_PART_DENSE_BYTES = 16 << 20
"""Bytes of a part's dense array, in whichever form it travels."""

# What is gathered at a time on the way into the array: it stays in the cache and counts little as memory.
_SCATTERED_BYTES = 2 << 20
_WORD_INDEX = re.compile(r"\bwords\[(\d+)\]")
_Error = TypeVar("_Error", bound=UnrolledError)


class InParts:
    """A call whose words are sorted, sent once each, in parts, and written into one array.

    Sorted, because neighbours then share their prefixes: a part holds each state once, and the server
    computes it once. Parts are small enough for caches and transport, large enough to cost little each.
    Words that start from states of their own share nothing, and are sent in the caller's order.
    """

    def __init__(self, request: Request, *, limits: Limits) -> None:
        """Plans the parts.

        Args:
            request: One or more words, batch_first.
            limits: The server's.
        """
        self._request = request
        if request.initial_state is None:
            self._words = sorted_for_sharing(request.words, request.network)
            ranks = _ranks(request.words, self._words)
        else:
            self._words = request.words
            ranks = np.arange(len(self._words))
        # The caller's places, ordered by the word that stands there in what is sent, and that word.
        self._places = np.argsort(ranks, kind="stable")
        self._ranks = ranks[self._places]
        self._plan(limits)
        self._outputs: NDArray[np.float32] | None = None
        self._state: State | None = None
        self._timings: list[Timing] = []
        self._fingerprints: set[str] = set()

    def _plan(self, limits: Limits) -> None:
        """Cuts the words into parts and chooses each part's form."""
        network, words, count = self._request.network, self._words, len(self._words)
        lengths = np.fromiter(map(network.symbol_count, words), np.int64, count)
        row_bytes = self._request.hidden * FLOAT_BYTES
        fixed_bytes = state_bytes(self._request)
        distinct = new_state_counts(words, network) * row_bytes + lengths * INDEX_BYTES
        dense = lengths * row_bytes
        weights = (
            np.minimum(distinct, dense) if self._request.initial_state is None else dense
        ) + fixed_bytes
        if network.is_pooled:
            work = lengths * network.multiplications(self._request.hidden_size)
            shares = np.maximum(weights / POOLED_PART_BYTES, work / POOLED_PART_MULTIPLICATIONS)
            largest = np.full(count, row_bytes)
        else:
            shares, largest = weights / PART_BYTES, dense
        if network.vectors is not None:  # sentences may outweigh what is made of them
            text_bytes = np.fromiter(map(len, words), np.int64, count) * MAX_LETTER_BYTES
            shares = np.maximum(shares, text_bytes / PART_BYTES)
        self._bounds = _cut(shares=shares, dense=largest + fixed_bytes, limits=limits)
        self.part_count = len(self._bounds) - 1
        first = self._bounds[:-1]
        # A part's words are padded to its longest, in both forms.
        padded = np.diff(self._bounds) * np.maximum.reduceat(lengths, first)
        self._dense_bytes = padded * row_bytes
        padding_bytes = (padded - np.add.reduceat(lengths, first)) * INDEX_BYTES
        self._distinct_bytes = np.add.reduceat(distinct, first) + padding_bytes
        self._state_bytes = np.diff(self._bounds) * fixed_bytes

    def encode(self, at: int, *, request_id: str) -> EncodedRequest:
        """See Assembly."""
        begin, end = self._bounds[at : at + 2].tolist()
        part, state = self._request.with_words(self._words[begin:end]), self._request.initial_state
        if state is not None:
            part = replace(part, initial_state=_of_words(state, begin, end))
        return encode(part, is_distinct=self._is_distinct(at), request_id=request_id)

    def _is_distinct(self, at: int) -> bool:
        saves = self._distinct_bytes[at] <= self._dense_bytes[at] * MAX_DISTINCT_SHARE
        return bool(saves) and may_share(self._request)

    def reply_bytes(self, at: int) -> int:
        """See Assembly."""
        if self._request.network.is_pooled:
            return MAX_BYTES_IN_FLIGHT // POOLED_PARTS_IN_FLIGHT
        outputs_bytes = self._distinct_bytes if self._is_distinct(at) else self._dense_bytes
        return int(outputs_bytes[at] + self._state_bytes[at])

    def place(self, at: int, reply: SplitReply, *, request: EncodedRequest) -> None:
        """See Assembly. Every place of the arrays is written exactly once, padding included."""
        begin, end = np.searchsorted(self._ranks, self._bounds[at : at + 2]).tolist()
        self._scatter(states_in(reply, request), first=self._bounds[at], begin=begin, end=end)
        if self._request.network.return_final_state:
            places, words = self._places[begin:end], self._ranks[begin:end] - self._bounds[at]
            self._scatter_state(state_in(reply, request), places=places, words=words)
        self._note(reply)

    def _scatter(self, states: States, *, first: int, begin: int, end: int) -> None:
        outputs, per_word = self._array(), states.shape[1:]
        step = max(1, _SCATTERED_BYTES // (int(np.prod(per_word)) * FLOAT_BYTES))
        for chunk in range(begin, end, step):
            taken = slice(chunk, min(chunk + step, end))
            places, rows = self._places[taken], states.of(self._ranks[taken] - first)
            if self._request.network.is_pooled:
                outputs[places] = rows
            else:
                seq = per_word[0]
                outputs[places, :seq] = rows
                outputs[places, seq:] = 0

    def _array(self) -> NDArray[np.float32]:
        """The one array; made when the first reply is there."""
        if self._outputs is None:
            request = self._request
            positions = () if request.network.is_pooled else (max(request.lengths),)
            self._outputs = np.empty((len(request.words), *positions, request.hidden), np.float32)
        return self._outputs

    def _scatter_state(self, state: State, *, places: NDArray[np.int64], words: NDArray[np.int64]) -> None:
        """Puts the last states of some of a part's words where the caller has those words."""
        if self._state is None:
            self._state = _empty_like(state, batch=len(self._request.words))
        self._state.h[:, places] = state.h[:, words]
        if state.c is not None and self._state.c is not None:
            self._state.c[:, places] = state.c[:, words]

    def _note(self, reply: SplitReply) -> None:
        self._timings.append(timing_in(reply))
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
        timing = Timing(
            queue_s=max(timing.queue_s for timing in self._timings),
            compute_s=sum(timing.compute_s for timing in self._timings),
        )
        return result_of(
            self._request, outputs=self._array(), timing=timing, fingerprint=fingerprint, state=self._state
        )


def _ranks(words: list[str], sent: list[str]) -> NDArray[np.int64]:
    """(words,): the number of each among those that are sent."""
    rank_of = dict(zip(sent, range(len(sent)), strict=True))
    return np.fromiter(map(rank_of.__getitem__, words), np.int64, len(words))


def _of_words(state: State, begin: int, end: int) -> State:
    """The state of some words that stand side by side."""
    c = None if state.c is None else np.ascontiguousarray(state.c[:, begin:end])
    return state._replace(h=np.ascontiguousarray(state.h[:, begin:end]), c=c)


def _empty_like(state: State, *, batch: int) -> State:
    """Room for the same of more words."""
    (layers, _, hidden), c = state.h.shape, state.c
    return state._replace(
        h=np.empty((layers, batch, hidden), np.float32),
        c=None if c is None else np.empty((layers, batch, c.shape[-1]), np.float32),
    )


def _cut(*, shares: NDArray[np.float64], dense: NDArray[np.int64], limits: Limits) -> NDArray[np.int64]:
    """(parts + 1,): where parts begin and end in the words.

    Each word's share of a part says where to cut; what that leaves beyond the limits is cut again. For those
    each word is taken to have as many bytes as the largest.
    """
    longest = max(int(dense.max()), 1)
    max_words = min(MAX_PART_WORDS, limits.max_words)
    max_dense_bytes = min(MAX_PART_DENSE_BYTES, limits.max_reply_bytes)
    word_count = max(1, min(max_words, max_dense_bytes // longest))
    part = np.floor(np.cumsum(shares) - shares)
    begins = np.flatnonzero(np.diff(part, prepend=-1))
    ends = [*begins[1:].tolist(), len(shares)]
    pieces = [range(begin, end, word_count) for begin, end in zip(begins.tolist(), ends, strict=True)]
    return np.array([at for piece in pieces for at in piece] + [len(shares)], np.int64)
