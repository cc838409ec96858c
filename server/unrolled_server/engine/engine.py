"""The engine: computes jobs, shares prefixes between them, and splits jobs that exceed the memory budget."""

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Int32

from unrolled_server.engine.alphabet import Alphabet
from unrolled_server.engine.children import TableFullError
from unrolled_server.engine.distinct import Numbering, number_by_appearance, prefix_rows, word_rows
from unrolled_server.engine.job import (
    Answer,
    AnswerTooLargeError,
    InitialStates,
    Job,
    Layout,
    NotWantedError,
    Output,
    ReplyForm,
)
from unrolled_server.engine.network import CachedNetwork
from unrolled_server.engine.network_cache import NetworkCache
from unrolled_server.engine.pooling import joined_states
from unrolled_server.engine.proof import START_WIDTHS, Proof
from unrolled_server.engine.recurrence import Index
from unrolled_server.engine.spec import Cell, NetworkSpec, plain_network
from unrolled_server.engine.states import ReplyScratch
from unrolled_server.engine.vector_rows import WordVectors
from unrolled_server.engine.words import EncodedWords

DEFAULT_STATE_MEMORY_BYTES = 1 << 30
_MAX_QUICK_WORDS = 64
_MAX_QUICK_FLOATS = 256 * 1024
_GOLDEN_WORDS = ("hello", "eolll", "lleel", "h", "ole", "hello" * 5)
_GOLDEN_HIDDEN_SIZES = (1, 2, 16, 50, 256)


class DeviceUnavailableError(RuntimeError):
    """The requested device is not on this machine."""


class Engine:
    """Runs networks over words. Not thread-safe: one thread at a time, except `is_quick`.

    On one machine and one version of torch a job's bytes depend on the job alone, not on earlier or other
    jobs. Raises DeviceUnavailableError.

    Args:
        device: "auto", "cpu", "cuda" or "mps".
        state_memory_bytes: Budget for weights, trees and states. Reply scratch (the largest reply so far),
            step scratch (1 MB at 256 columns) and word vectors come on top.

    Attributes:
        asked_rows: States that jobs needed so far, cached or not; those of failed jobs included.
    """

    def __init__(
        self,
        *,
        device: str = "auto",
        state_memory_bytes: int = DEFAULT_STATE_MEMORY_BYTES,
        vectors: Sequence[WordVectors] = (),
    ) -> None:
        self._device = _choose_device(device)
        self.device = str(self._device)
        self.fingerprint = ""
        self.asked_rows = 0
        self.computed_rows = 0
        self._proof = Proof(self._device)
        self._networks = NetworkCache(
            budget_bytes=state_memory_bytes,
            proof=self._proof,
            device=self._device,
            vectors={table.digest: table for table in vectors},
        )
        self._scratch = ReplyScratch()

    @property
    def held_bytes(self) -> int:
        return self._networks.held_bytes

    @property
    def network_count(self) -> int:
        return len(self._networks)

    @property
    def proved_count(self) -> int:
        return self._proof.shape_count

    def prove(self) -> None:
        """Proves the usual widths and sets the fingerprint, a digest of fixed replies; raises ProofError."""
        _use_one_thread()
        for width in START_WIDTHS:
            self._proof.stepper(width)
        digest = hashlib.sha256()
        words = Alphabet.of("helo").encode(_GOLDEN_WORDS)
        plain = [plain_network(4, hidden_size, 0) for hidden_size in _GOLDEN_HIDDEN_SIZES]
        others = [
            NetworkSpec(symbol_count=4, hidden_size=50, seed=0, cell=cell, num_layers=2, bidirectional=both)
            for cell in Cell
            for both in (False, True)
        ]
        embedded = NetworkSpec(symbol_count=4, hidden_size=50, seed=0, cell=Cell.GRU, embedding_size=30)
        for spec in (*plain, *others, embedded):
            digest.update(self._answer(Job(network=spec, words=words)).values.tobytes())
            self._networks.forget(spec)
        self.fingerprint = digest.hexdigest()[:16]

    def multiplications_per_s(self) -> float:
        """Measures how fast new states come: the best of three runs of some milliseconds."""
        _use_one_thread()
        letters = "".join(map(chr, range(ord("a"), ord("a") + 256)))
        words = Alphabet.of(letters).encode([letter + "a" * 7 for letter in letters])  # sharing no prefix
        taken_s = []
        for seed in range(3):
            job = Job(network=plain_network(256, 256, seed), words=words)
            self._networks.use(job.network)
            started_s = time.perf_counter()
            self._answer(job)
            taken_s.append(time.perf_counter() - started_s)
            self._networks.forget(job.network)
        return job.multiplications / min(taken_s)

    def is_quick(self, job: Job) -> bool:
        """Returns whether a job is small and all its states are cached. Any thread may call it.

        A hint: the job's network may be evicted before it runs.
        """
        words = job.words.words
        if len(words) > _MAX_QUICK_WORDS or job.layout is not Layout.BATCH_FIRST:
            return False
        if job.initial_state is not None:
            return False
        if job.position_count * job.network.output_size > _MAX_QUICK_FLOATS:
            return False
        network = self._networks.peek(job.network)
        return network is not None and network.has_cached_rows(job.words)

    def run(
        self, jobs: Sequence[Job], *, is_wanted: Callable[[int], bool] = lambda _: True
    ) -> Iterator[Answer | Exception]:
        """Yields one result per job, in order; a job that fails yields its exception and affects no other.

        Prefixes that several jobs of one network need are computed once, together. An answer's values are
        valid until the next is taken. ``is_wanted`` is called once for each job's index, before anything is
        computed for it; the result of an unwanted job is a NotWantedError.
        """
        _use_one_thread()
        together = self._group(jobs) if len(jobs) > 1 else {}
        wanted: dict[int, bool] = {}
        for at, job in enumerate(jobs):
            if together and (group := together.pop(job.network, None)):
                wanted.update((member, is_wanted(member)) for member in group)
                self._compute_together(
                    job.network, [jobs[member].words for member in group if wanted[member]]
                )
            if not (wanted[at] if at in wanted else is_wanted(at)):
                yield NotWantedError()
                continue
            self.asked_rows += job.words.letter_count * job.network.rows_per_symbol
            try:
                result: Answer | Exception = self._answer(job)
            except Exception as error:  # noqa: BLE001 - a failing job must not end the batch
                result = error
            yield result

    def _group(self, jobs: Sequence[Job]) -> dict[NetworkSpec, list[int]]:
        """Returns the indices of jobs that share a network and are not all cached."""
        groups: dict[NetworkSpec, list[int]] = {}
        for at, job in enumerate(jobs):
            network = self._networks.peek(job.network)
            is_alone = job.layout is Layout.SEQ_FIRST or job.initial_state is not None or job.may_be_too_large
            if not is_alone and not (network and network.has_cached_rows(job.words)):
                groups.setdefault(job.network, []).append(at)
        return {spec: group for spec, group in groups.items() if len(group) > 1}

    def _compute_together(self, spec: NetworkSpec, group: Sequence[EncodedWords]) -> None:
        """Computes the union of the words' prefixes. If that fails, each job still runs alone."""
        if not group:
            return
        with contextlib.suppress(Exception):  # the job at fault raises it again when it runs
            self._compute_rows(self._networks.use(spec), EncodedWords.joined(group))

    def _answer(self, job: Job) -> Answer:
        network = self._networks.use(job.network)
        words = job.words.transposed() if job.layout is Layout.SEQ_FIRST else job.words
        if job.initial_state is not None:
            starts = InitialStates(job.initial_state)
            with self._networks.temporary(network, starts) as temporary:
                return self._answer_with(temporary, job, words.starting_at(starts.of_words))
        return self._answer_with(network, job, words)

    def _answer_with(self, network: CachedNetwork, job: Job, words: EncodedWords) -> Answer:
        if job.may_be_too_large:
            _distinct_rows(job, words)
        index = network.cached_rows(words)
        if index is None:
            try:
                index = self._compute_rows(network, words)
            except TableFullError:
                return self._answer_in_slices(job, network, words)
            if words.starts is None:  # a temporary network is gone before its words return
                network.cache(words, index)
                self._networks.measure(network)
        return self._answer_from(network, job, words, index)

    def _answer_from(self, network: CachedNetwork, job: Job, words: EncodedWords, index: Index) -> Answer:
        """Reads an answer from computed rows; `lengths` takes a sixth of small work, so it is read once."""
        recurrence, state = network.recurrence, None
        if job.return_final_state:
            state = recurrence.final_state(index, words.lengths)
        if job.output is not Output.ALL:
            values = recurrence.pooled(index, words.lengths, output=job.output)
            return Answer(values, job.words.lengths, final_state=state)
        if job.layout is Layout.SEQ_FIRST:
            index = index.swapaxes(0, 1)  # (letters, words) -> (words, letters)
        if job.form is ReplyForm.DENSE:
            return Answer(network.gather(index, self._scratch), job.words.lengths, final_state=state)
        numbering = number_by_appearance(recurrence.numbers(index))
        places = index.reshape(-1, *index.shape[2:])  # (batch, seq, ...) -> (batch * seq, ...)
        rows = np.concatenate([np.zeros_like(places[:1]), places.take(numbering.firsts, axis=0)])
        values = network.gather(rows[np.newaxis], self._scratch)[0]
        return Answer(values, job.words.lengths, numbering.index, state)

    def _compute_rows(self, network: CachedNetwork, words: EncodedWords) -> Index:
        """Returns each letter's rows; if the table is full, it is cleared and filled again.

        Raises TableFullError if the words do not fit into an empty table either.
        """
        max_rows = self._networks.max_rows(network)
        make_room = partial(self._networks.make_room, keep=network)
        known_rows = network.recurrence.row_count
        try:
            try:
                return network.compute_rows(words, max_rows=max_rows, make_room=make_room)
            except TableFullError:
                self._networks.measure(network)
                known_rows = 0
                return network.compute_rows(
                    words, max_rows=None if len(words) == 1 else max_rows, make_room=make_room
                )
        finally:
            self.computed_rows += max(0, network.recurrence.row_count - known_rows)  # fewer if it failed
            self._networks.measure(network)

    def _answer_in_slices(self, job: Job, network: CachedNetwork, words: EncodedWords) -> Answer:
        recurrence, state = network.recurrence, None
        if job.return_final_state:
            parts = self._slices(network, words)
            state = joined_states([recurrence.final_state(part.rows, part.lengths) for part in parts])
        if job.output is not Output.ALL:
            parts = self._slices(network, words)
            pooled = [recurrence.pooled(part.rows, part.lengths, output=job.output) for part in parts]
            return Answer(np.concatenate(pooled), job.words.lengths, final_state=state)
        if job.form is ReplyForm.DENSE:
            return Answer(self._run_in_slices(job, network, words), job.words.lengths, final_state=state)
        rows = _distinct_rows(job, words)
        numbering = number_by_appearance(rows.T if job.layout is Layout.SEQ_FIRST else rows)
        values = self._scratch.view((len(numbering.firsts) + 1, job.network.output_size))
        values[0] = 0
        self._fill_distinct(network, words, _numbers_at_firsts(job, numbering), values)
        return Answer(values, job.words.lengths, numbering.index, state)

    def _slices(self, network: CachedNetwork, words: EncodedWords, start: int = 0) -> "Iterator[_Slice]":
        """Yields the words' rows in as many parts as needed; read each before taking the next."""
        try:
            index = self._compute_rows(network, words)
        except TableFullError:
            half = len(words) // 2
            yield from self._slices(network, words.part(0, half), start)
            yield from self._slices(network, words.part(half, len(words)), start + half)
            return
        yield _Slice(slice(start, start + len(words)), index, words.lengths)

    def _run_in_slices(
        self, job: Job, network: CachedNetwork, words: EncodedWords
    ) -> Float32[np.ndarray, "batch seq output"]:
        batch, seq, size = len(words), int(words.lengths.max()), job.network.output_size
        if job.layout is Layout.BATCH_FIRST:
            values = filled = self._scratch.view((batch, seq, size))
        else:
            values = self._scratch.view((seq, batch, size))
            filled = values.transpose(1, 0, 2)  # recurs along the first axis
        for part in self._slices(network, words):
            reached = part.rows.shape[1]
            filled[part.words, :reached] = network.gather(part.rows, ReplyScratch())
            filled[part.words, reached:] = 0
        return values

    def _fill_distinct(
        self,
        network: CachedNetwork,
        words: EncodedWords,
        numbers: Int32[np.ndarray, "batch seq"],
        values: Float32[np.ndarray, "rows output"],
    ) -> None:
        """Writes each output to the row of ``values`` that ``numbers`` holds; 0 means none."""
        for part in self._slices(network, words):
            of_part = numbers[part.words, : part.rows.shape[1]]
            wanted = of_part != 0
            if wanted.any():
                outputs = network.gather(part.rows[wanted][np.newaxis], ReplyScratch())[0]
                values[of_part[wanted]] = outputs


class _Slice(NamedTuple):
    """Some of a job's words, and their rows while these are in the table."""

    words: slice
    rows: Index
    lengths: Int32[np.ndarray, " batch"]


def _distinct_rows(job: Job, words: EncodedWords) -> Int32[np.ndarray, "batch seq"]:
    """Numbers the distinct states of ``words``; raises AnswerTooLargeError if the job allows fewer."""
    number_rows = word_rows if job.network.bidirectional else prefix_rows
    rows = number_rows(words, max_rows=job.max_distinct)
    if rows is None:
        raise AnswerTooLargeError(
            f"the reply would have more than {job.max_distinct} distinct states of "
            f"{job.network.output_size} float32 values and an index of {4 * job.position_count} bytes; this "
            f"server sends up to {job.max_reply_bytes} bytes in one reply; send fewer words at a time"
        )
    return rows


def _numbers_at_firsts(job: Job, numbering: Numbering) -> Int32[np.ndarray, "batch seq"]:
    """Returns each number where it appears first and 0 elsewhere, along the network's axes."""
    numbers = np.zeros_like(numbering.index)
    numbers.ravel()[numbering.firsts] = np.arange(1, len(numbering.firsts) + 1)
    return numbers.T if job.layout is Layout.SEQ_FIRST else numbers


def _use_one_thread() -> None:
    """Limits products to one thread. torch keeps this setting per calling thread, so every run checks it."""
    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)


def _choose_device(name: str) -> torch.device:
    """Returns the device of this name; "auto" is what `torch.accelerator` offers, else the CPU.

    Raises DeviceUnavailableError if this machine or this build of torch has no such device.
    """
    if name == "cpu":
        return torch.device("cpu")
    offered = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if name == "auto":
        return offered or torch.device("cpu")
    if offered is None or offered.type != name:
        found = offered.type if offered else "no accelerator"
        raise DeviceUnavailableError(f"device is {name!r}; torch finds {found} here; use auto or cpu")
    return offered
