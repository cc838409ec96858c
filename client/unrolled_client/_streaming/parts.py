"""A call that travels in several requests: cuts its words, and writes the replies into one array."""

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from unrolled.v1.wire import SplitReply

from unrolled_client._messages import decoding
from unrolled_client._messages.request import EncodedRequest, Request, encode
from unrolled_client._streaming import sizing
from unrolled_client._streaming.exchange import Error
from unrolled_client.errors import FieldViolation, ProtocolError
from unrolled_client.results import Limits, Result, State, Timing

# docs/decisions/0016-large-calls-in-parts.md says how these were measured.
PART_BYTES = 1 << 20
"""Approximate bytes of a part's larger message."""
COMPUTED_PART_BYTES = 64 << 20
"""Approximate bytes of the states of a part that sends fewer: one that pools them, or is computed here."""
COMPUTED_PART_MULTIPLICATIONS = 1 << 31
"""Approximate work of such a part: a tenth of a second on one core, and some 20 s without vector units."""
MAX_PART_DENSE_BYTES = 16 << 20
"""Bytes of a part's dense array, also if it travels in the distinct form."""

# Rows are copied into the array in blocks that stay in the cache.
_BLOCK_BYTES = 2 << 20
_WORD_INDEX = re.compile(r"\bwords\[(\d+)\]")


class InParts:
    """Implements Assembly with several requests, which together have each distinct word once.

    The words are sorted, because neighbours then share prefixes: a part holds each state once, and the
    server computes it once. Words with initial states share nothing and keep the caller's order, and so do
    those that this process computes, into their place in the result.
    """

    def __init__(
        self, request: Request, *, limits: Limits, advance: Callable[[int], None] = lambda _count: None
    ) -> None:
        """Plans the parts of a request with layout "batch_first" for a server with these limits.

        `advance` is called with the number of the caller's words in each part that is done.
        """
        self._request = request
        self._advance = advance
        if request.initial_state is None and not request.is_local:
            self._words = sizing.sorted_for_sharing(request.words, request.network)
            ranks = _ranks(request.words, self._words)
        else:
            self._words = request.words
            ranks = np.arange(len(self._words))
        # The positions in the caller's list, ordered by the index of their word among those sent; that index.
        self._places = np.argsort(ranks, kind="stable")
        self._ranks = ranks[self._places]
        self._plan(limits)
        self._outputs: NDArray[np.float32] | None = None
        self._state: State | None = None
        self._timings: list[Timing] = []
        self._fingerprints: set[str] = set()

    def _plan(self, limits: Limits) -> None:
        """Cuts the words into parts and computes the parts' sizes."""
        network, words, count = self._request.network, self._words, len(self._words)
        lengths = np.fromiter(map(network.symbol_count, words), np.int64, count)
        row_bytes = self._request.hidden * sizing.FLOAT_BYTES
        fixed_bytes = sizing.state_bytes(self._request)
        can_share = self._request.initial_state is None and not self._request.is_local
        counts = sizing.new_state_counts(words, network) if can_share else lengths
        distinct, dense = counts * row_bytes + lengths * sizing.INDEX_BYTES, lengths * row_bytes
        weights = np.minimum(distinct, dense) + fixed_bytes
        largest = np.full(count, row_bytes) if network.is_pooled else dense
        if network.is_pooled or self._request.is_local:
            work = lengths * network.multiplications(self._request.hidden_size)
            shares = np.maximum(weights / COMPUTED_PART_BYTES, work / COMPUTED_PART_MULTIPLICATIONS)
        else:
            shares = weights / PART_BYTES
        if network.reads_sentences:  # sentences may be larger than their states
            text_bytes = np.fromiter(map(len, words), np.int64, count) * sizing.MAX_LETTER_BYTES
            shares = np.maximum(shares, text_bytes / PART_BYTES)
        self._bounds = _cut(shares=shares, dense=largest + fixed_bytes, limits=limits)
        self.part_count = len(self._bounds) - 1
        first = self._bounds[:-1]
        # A part's words are padded to its longest, in both forms.
        padded = np.diff(self._bounds) * np.maximum.reduceat(lengths, first)
        self._dense_bytes = padded * row_bytes
        padding_bytes = (padded - np.add.reduceat(lengths, first)) * sizing.INDEX_BYTES
        self._distinct_bytes = np.add.reduceat(distinct, first) + padding_bytes
        self._state_bytes = np.diff(self._bounds) * fixed_bytes

    def encode(self, at: int, *, request_id: str) -> EncodedRequest:
        begin, end = self._bounds[at : at + 2].tolist()
        part, state = self._request.with_words(self._words[begin:end]), self._request.initial_state
        if state is not None:
            part = replace(part, initial_state=_of_words(state, begin, end))
        if part.is_local:
            return encode(part, request_id=request_id, out=self._array()[begin:end])
        return encode(part, is_distinct=self._is_distinct(at), request_id=request_id)

    def _is_distinct(self, at: int) -> bool:
        saves = self._distinct_bytes[at] <= self._dense_bytes[at] * sizing.MAX_DISTINCT_SHARE
        return bool(saves) and sizing.may_share(self._request)

    def reply_bytes(self, at: int) -> int:
        if self._request.network.is_pooled:
            row_bytes = self._request.hidden * sizing.FLOAT_BYTES
            return int(np.diff(self._bounds)[at] * row_bytes + self._state_bytes[at])
        outputs_bytes = self._distinct_bytes if self._is_distinct(at) else self._dense_bytes
        return int(outputs_bytes[at] + self._state_bytes[at])

    def place(self, at: int, reply: SplitReply, *, request: EncodedRequest) -> None:
        # Every element of the arrays is written exactly once, padding included.
        begin, end = np.searchsorted(self._ranks, self._bounds[at : at + 2]).tolist()
        if request.out is None:
            outputs = decoding.read_outputs(reply, request)
            self._scatter(outputs, first=self._bounds[at], begin=begin, end=end)
        if self._request.network.return_final_state:
            places, words = self._places[begin:end], self._ranks[begin:end] - self._bounds[at]
            self._scatter_state(decoding.read_final_state(reply, request), places=places, words=words)
        self._record_server(reply)
        self._advance(end - begin)

    def _scatter(self, received: decoding.Outputs, *, first: int, begin: int, end: int) -> None:
        """Copies a part's outputs to the positions of its words in the caller's list."""
        outputs, per_word = self._array(), received.shape[1:]
        step = max(1, _BLOCK_BYTES // max(1, int(np.prod(per_word)) * sizing.FLOAT_BYTES))
        for chunk in range(begin, end, step):
            taken = slice(chunk, min(chunk + step, end))
            places, rows = self._places[taken], received.take(self._ranks[taken] - first)
            if self._request.network.is_pooled:
                outputs[places] = rows
            else:
                seq = per_word[0]
                outputs[places, :seq] = rows
                outputs[places, seq:] = 0

    def _array(self) -> NDArray[np.float32]:
        """Returns the array of the result, which the first reply makes."""
        if self._outputs is None:
            request = self._request
            positions = () if request.network.is_pooled else (max(request.lengths),)
            self._outputs = np.empty((len(request.words), *positions, request.hidden), np.float32)
        return self._outputs

    def _scatter_state(self, state: State, *, places: NDArray[np.int64], words: NDArray[np.int64]) -> None:
        """Copies a part's last states to the positions of its words in the caller's list."""
        if self._state is None:
            self._state = _empty_like(state, batch=len(self._request.words))
        self._state.h[:, places] = state.h[:, words]
        if state.c is not None and self._state.c is not None:
            self._state.c[:, places] = state.c[:, words]

    def _record_server(self, reply: SplitReply) -> None:
        self._timings.append(decoding.read_timing(reply))
        self._fingerprints.add(reply.rest.fingerprint)
        if len(self._fingerprints) > 1:
            raise ProtocolError(
                f"servers of different bits answered parts of one call (fingerprints "
                f"{', '.join(sorted(self._fingerprints))}); call again when they are the same"
            )

    def renamed(self, at: int, error: Error) -> Error:
        """See Assembly; a word that was sent once for several positions gets its first."""

        def rename(text: str) -> str:
            return _WORD_INDEX.sub(lambda match: f"words[{self._place_of(at, int(match[1]))}]", text)

        violations = tuple(
            FieldViolation(field=rename(v.field), description=rename(v.description)) for v in error.violations
        )
        message, after_s = rename(error.message), error.retry_after_s
        return type(error)(message, code=error.code, violations=violations, retry_after_s=after_s)

    def _place_of(self, at: int, word_at: int) -> int:
        found = np.searchsorted(self._ranks, self._bounds[at] + word_at)
        return int(self._places[min(found, len(self._places) - 1)])

    def result(self) -> Result:
        (fingerprint,) = self._fingerprints
        timing = Timing(
            queue_s=max(timing.queue_s for timing in self._timings),
            compute_s=sum(timing.compute_s for timing in self._timings),
        )
        return decoding.make_result(
            self._request, outputs=self._array(), timing=timing, fingerprint=fingerprint, state=self._state
        )


def _ranks(words: list[str], sent: list[str]) -> NDArray[np.int64]:
    """Returns the index of each word among those sent, (words,)."""
    rank_of = dict(zip(sent, range(len(sent)), strict=True))
    return np.fromiter(map(rank_of.__getitem__, words), np.int64, len(words))


def _of_words(state: State, begin: int, end: int) -> State:
    """Returns the state of the words from `begin` to `end`."""
    c = None if state.c is None else np.ascontiguousarray(state.c[:, begin:end])
    return state._replace(h=np.ascontiguousarray(state.h[:, begin:end]), c=c)


def _empty_like(state: State, *, batch: int) -> State:
    """Returns uninitialized arrays for the same state of more words."""
    (layers, _, hidden), c = state.h.shape, state.c
    return state._replace(
        h=np.empty((layers, batch, hidden), np.float32),
        c=None if c is None else np.empty((layers, batch, c.shape[-1]), np.float32),
    )


def _cut(*, shares: NDArray[np.float64], dense: NDArray[np.int64], limits: Limits) -> NDArray[np.int64]:
    """Returns the indices of the words at which parts begin, and the number of words: (parts + 1,).

    The sum of the words' shares of a part decides where to cut. A part beyond the server's limits is cut
    again, as if each of its words had the bytes of the largest.
    """
    longest = max(int(dense.max()), 1)
    max_words = min(sizing.MAX_PART_WORDS, limits.max_words)
    max_dense_bytes = min(MAX_PART_DENSE_BYTES, limits.max_reply_bytes)
    word_count = max(1, min(max_words, max_dense_bytes // longest))
    part = np.floor(np.cumsum(shares) - shares)
    begins = np.flatnonzero(np.diff(part, prepend=-1))
    ends = [*begins[1:].tolist(), len(shares)]
    pieces = [range(begin, end, word_count) for begin, end in zip(begins.tolist(), ends, strict=True)]
    return np.array([at for piece in pieces for at in piece] + [len(shares)], np.int64)
