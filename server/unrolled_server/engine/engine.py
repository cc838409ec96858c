"""The engine: computes jobs, shares prefixes between them, and splits jobs that exceed the memory budget."""

import contextlib
import math
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import cast

import numpy as np

from unrolled_server.array_types import Float32, Int32
from unrolled_server.engine.alphabet import Alphabet
from unrolled_server.engine.core import CoreError, States, compute_side_by_side, number
from unrolled_server.engine.devices import CPU, open_backend
from unrolled_server.engine.golden import GOLDEN_FINGERPRINT, golden_fingerprint
from unrolled_server.engine.job import (
    Answer,
    AnswerTooLargeError,
    InitialStates,
    Job,
    Layout,
    NotWantedError,
    ReplyForm,
    State,
    Stop,
    drawing_multiplications,
)
from unrolled_server.engine.network import Reply, TableFullError
from unrolled_server.engine.network_cache import CachedNetwork, NetworkCache
from unrolled_server.engine.spec import Cell, NetworkSpec, WordVectors, plain_network
from unrolled_server.engine.threads import claim_threads, only_threads, release_threads
from unrolled_server.engine.words import EncodedWords

DEFAULT_STATE_MEMORY_BYTES = 1 << 30
_MAX_MEASURED_S = 0.2
# Networks whose states are computed side by side, for each thread; all threads share larger jobs.
_SIDE_BY_SIDE = 4
_MAX_SMALL_MULTIPLICATIONS = 1 << 26


class Engine:
    """Runs networks over words. Not thread-safe: one thread at a time, except `drawing_multiplications`.

    On the CPU, threads of the native core share large jobs, and compute small ones side by side.

    On the CPU a job's bytes depend on the job alone; on an accelerator also on the machine and on torch.
    Raises CoreError without a native core, and DeviceUnavailableError.

    Args:
        device: "auto", "cpu", "cuda" or "mps".
        threads: Threads that compute, the caller's included; all engines of a process share as many as the
            one with the most asks for.
        state_memory_bytes: Budget for weights, states and indexes, and memory that is kept for the next
            ones. The largest reply so far and word vectors come on top.

    Attributes:
        isa: The CPU's instruction set in use; empty on an accelerator.
        threads: Threads of the native core; 1 on an accelerator.
        asked_rows: States that jobs needed so far, cached or not; those of failed jobs included.
    """

    def __init__(
        self,
        *,
        device: str = "auto",
        threads: int = 1,
        state_memory_bytes: int = DEFAULT_STATE_MEMORY_BYTES,
        vectors: Sequence[WordVectors] = (),
    ) -> None:
        self._backend = open_backend(device)
        self.device = self._backend.device
        self.isa = self._backend.isa
        self.threads = threads if self.device == CPU else 1
        self.fingerprint = ""
        self.asked_rows = 0
        self.computed_rows = 0
        tables = {table.digest: table for table in vectors}
        self._networks = NetworkCache(self._backend, budget_bytes=state_memory_bytes, vectors=tables)
        self._buffer = _ReplyBuffer()
        self._stop: Stop | None = None  # of the running job
        self._is_closed = False
        claim = claim_threads(threads) if self.device == CPU else None
        self._end = weakref.finalize(self, _end, self._networks, claim)
        self._end.atexit = False  # a thread may be computing

    @property
    def held_bytes(self) -> int:
        return self._networks.held_bytes

    @property
    def network_count(self) -> int:
        return len(self._networks)

    def close(self) -> None:
        """Drops all networks; later calls raise RuntimeError, and a second `close` does nothing.

        The last open engine of the process ends the core's threads and returns the memory that it keeps to
        the system. An engine that the garbage collector finds counts as closed.
        """
        self._is_closed = True
        self._end()
        self._buffer = _ReplyBuffer()

    def verify(self) -> None:
        """Sets the fingerprint, a digest of fixed replies, which is one on all CPUs.

        Raises CoreError if this core gives another, and DeviceUnstableError.
        """
        self._backend.verify()
        self.fingerprint = golden_fingerprint(self._answer_once)
        if self.device == CPU and self.fingerprint != GOLDEN_FINGERPRINT:
            raise CoreError(
                f"this core gives other bits: the fingerprint of its replies is {self.fingerprint}, not "
                f"{GOLDEN_FINGERPRINT}; build it again with: pip install ./server/native"
            )

    def multiplications_per_s(self, *, threads: int) -> float:
        """Measures how fast new states come: the best of three short runs, or one run of a slow CPU."""
        if self.device != CPU:
            return self._measured_speed()
        with only_threads(threads):
            return self._measured_speed()

    def _measured_speed(self) -> float:
        letters = "".join(map(chr, range(ord("a"), ord("a") + 256)))
        words = Alphabet.of(letters).encode([letter + "a" * 7 for letter in letters])  # sharing no prefix
        taken_s = []
        for seed in range(3):
            job = Job(network=plain_network(256, 256, seed), words=words)
            self._networks.use(job.network)
            started_s = time.perf_counter()
            self._answer_once(job)
            taken_s.append(time.perf_counter() - started_s)
            if taken_s[0] > _MAX_MEASURED_S:
                break
        return job.multiplications / min(taken_s)

    def drawing_multiplications(self, spec: NetworkSpec) -> int:
        """Returns the multiplications that take as long as drawing a network; 0 if it is in memory.

        Any thread may call it. A hint: the network may be evicted before a job of it runs.
        """
        return drawing_multiplications(spec) if self._networks.peek(spec) is None else 0

    def is_known(self, job: Job) -> bool:
        """Returns whether all states of a job are in memory; false where finding out takes as long."""
        if job.layout is Layout.SEQ_FIRST or job.initial_state is not None:
            return False
        cached = self._networks.peek(job.network)
        return cached is not None and cached.network.is_known(job.words)

    def run(
        self,
        jobs: Sequence[Job],
        *,
        is_wanted: Callable[[int], bool] = lambda _: True,
        stops: Sequence[Stop] = (),
    ) -> Iterator[Answer | Exception]:
        """Yields one result per job, in order; a job that fails yields its exception and affects no other.

        Prefixes that several jobs of one network need are computed once, together. Unless its job has
        ``new_values``, an answer's values are valid until the next is taken. ``is_wanted`` is called once for
        each job's index, before anything is computed for it; the result of an unwanted job is a
        NotWantedError. ``stops`` has what ends each job while it runs; the result of a stopped job is a
        StoppedError.
        """
        groups = deque(self._groups(jobs) if len(jobs) > 1 else ())
        wanted: dict[int, bool] = {}
        for at, job in enumerate(jobs):
            if groups and groups[0][0] == at:
                count = min(len(groups), _SIDE_BY_SIDE * self.threads if self.threads > 1 else 1)
                turn = [groups.popleft() for _ in range(count)]
                wanted.update((member, is_wanted(member)) for group in turn for member in group)
                self._compute_together(
                    [[jobs[member] for member in group if wanted[member]] for group in turn]
                )
            if not (wanted[at] if at in wanted else is_wanted(at)):
                yield NotWantedError()
                continue
            yield self.run_one(job, stops[at] if stops else None)

    def run_one(self, job: Job, stop: Stop | None = None) -> Answer | Exception:
        """Returns one job's result; see `run`."""
        if self._is_closed:
            raise RuntimeError("this engine is closed; make another one")
        self.asked_rows += job.words.letter_count * job.network.rows_per_symbol
        self._stop = stop
        try:
            return self._answer(job)
        except Exception as error:  # noqa: BLE001 - a failing job must not end a batch
            return error
        except BaseException:  # Ctrl-C, which may leave a count wrong
            self._networks.clear()
            raise
        finally:
            self._stop = None

    def _groups(self, jobs: Sequence[Job]) -> list[list[int]]:
        """Returns the indices of jobs that are not all known, by network; by the first job of each."""
        groups: dict[NetworkSpec, list[int]] = {}
        for at, job in enumerate(jobs):
            cached = self._networks.peek(job.network)
            is_alone = job.layout is Layout.SEQ_FIRST or job.initial_state is not None or job.may_be_too_large
            if not is_alone and not (cached and cached.network.is_known(job.words)):
                groups.setdefault(job.network, []).append(at)
        if self.threads > 1 and len(groups) > 1:
            return list(groups.values())
        return [group for group in groups.values() if len(group) > 1]

    def _compute_together(self, groups: Sequence[Sequence[Job]]) -> None:
        """Computes the union of the prefixes of each group, whose jobs share a network.

        Small unions run side by side, one thread each. If one fails, each of its jobs still runs alone.
        """
        small: list[tuple[CachedNetwork, EncodedWords]] = []
        small_nbytes = 0
        for group in filter(None, groups):
            words = EncodedWords.joined([job.words for job in group])
            with contextlib.suppress(Exception):  # the job at fault raises it again when it runs
                cached = self._networks.use(group[0].network)
                if len(groups) == 1 or sum(job.multiplications for job in group) > _MAX_SMALL_MULTIPLICATIONS:
                    self._run(cached, words, Reply())
                else:
                    small_nbytes += self._networks.reserve(cached, words, besides_nbytes=small_nbytes)
                    small.append((cached, words))
        kept = [(cached, words) for cached, words in small if self._is_kept(cached)]
        compute_side_by_side(
            [(cast("States", cached.network), words, cached.max_rows) for cached, words in kept]
        )
        for cached, _ in kept:
            if self._is_kept(cached):
                self._count_rows(cached)

    def _is_kept(self, cached: CachedNetwork) -> bool:
        """Returns whether a network is still in memory: room for one may have cost another."""
        return self._networks.peek(cached.spec) is cached

    def _answer_once(self, job: Job) -> Answer:
        """Returns a job's answer and forgets its network."""
        try:
            return self._answer(job)
        finally:
            self._networks.forget(job.network)

    def _answer(self, job: Job) -> Answer:
        cached = self._networks.use(job.network, self._stop)
        words = job.words.transposed() if job.layout is Layout.SEQ_FIRST else job.words
        if job.initial_state is None:
            return self._answer_with(cached, job, words)
        starts = InitialStates(job.initial_state)
        with self._networks.temporary(cached, starts) as temporary:
            return self._answer_with(temporary, job, words.starting_at(starts.of_words))

    def _answer_with(self, cached: CachedNetwork, job: Job, words: EncodedWords) -> Answer:
        """Computes an answer; ``words`` run along the network, which is the layout's second axis or first."""
        reply, index, rows, state = Reply(output=job.output), None, job.places, None
        # Without positions the index would be empty, which says that the reply is dense.
        if job.form is ReplyForm.DISTINCT and job.position_count:
            reply.numbers, index, row_count = _number(job, words, self._stop)
            rows = (row_count,)
        if job.return_final_state:
            state = _empty_state(job.network, len(words))
            reply.h_n, reply.c_n = state.h, state.c
        new_values = job.new_values or self._buffer.new_values
        values = new_values((*rows, job.network.output_size), index, state)
        if index is not None:
            values[0] = 0
        is_swapped = job.layout is Layout.SEQ_FIRST and index is None
        reply.values = values.swapaxes(0, 1) if is_swapped else values
        self._write(cached, words, reply)
        return Answer(values, index, state)

    def _write(self, cached: CachedNetwork, words: EncodedWords, reply: Reply) -> None:
        """Computes states and writes a reply, in parts if the states do not fit into memory at once.

        Raises AnswerTooLargeError if those of a single word don't.
        """
        try:
            self._run(cached, words, reply)
        except TableFullError:
            if len(words) == 1:
                most_bytes = cached.max_word_rows * cached.network.row_nbytes
                raise AnswerTooLargeError(
                    f"the states of one sequence of {words.letter_count} symbols would take more than the "
                    f"{round(most_bytes / 2**20)} MiB that this server has for them; send shorter sequences "
                    "or ask for a smaller network"
                ) from None
            half = len(words) // 2
            for start, stop in ((0, half), (half, len(words))):
                self._write(cached, words.part(start, stop), reply.part(start, stop))

    def _run(self, cached: CachedNetwork, words: EncodedWords, reply: Reply) -> None:
        """Runs a network; if its table is full, it is cleared and filled again.

        Raises TableFullError if the words do not fit into an empty table either.
        """
        self._networks.reserve(cached, words)
        network = cached.network
        try:
            try:
                network.run(words, reply, max_rows=cached.max_rows, stop=self._stop)
            except TableFullError:
                cached.row_count = 0
                max_rows = cached.max_rows if len(words) > 1 else cached.max_word_rows
                network.run(words, reply, max_rows=max_rows, stop=self._stop)
        except Exception:
            cached.is_unfinished = True
            raise
        finally:
            self._count_rows(cached)

    def _count_rows(self, cached: CachedNetwork) -> None:
        """Counts the rows that a run added, and their memory."""
        row_count = cached.network.row_count
        if row_count != cached.row_count or cached.is_unfinished:
            self.computed_rows += max(0, row_count - cached.row_count)  # fewer if it failed
            cached.row_count = row_count
            self._networks.measure(cached)


def _end(networks: NetworkCache, claim: int | None) -> None:
    networks.clear()  # first, because memory that is released later would be kept
    if claim is not None:
        release_threads(claim)


class _ReplyBuffer:
    """Warm memory for one large reply at a time; as large as the largest so far."""

    # For replies up to this size malloc returns warm memory; a fresh array of 12 MB costs thousands of page
    # faults.
    _MAX_FRESH_FLOATS = 16 * 1024
    _ALIGNMENT_FLOATS = 16  # of a cache line, for the core's fastest stores

    def __init__(self) -> None:
        self._floats = np.empty(0, np.float32)

    def new_values(self, shape: tuple[int, ...], *_: object) -> Float32[np.ndarray, "..."]:
        """Implements NewValues."""
        size = math.prod(shape)
        if size <= self._MAX_FRESH_FLOATS:
            return np.empty(shape, np.float32)
        if size > len(self._floats):
            self._floats = np.empty(0, np.float32)  # freed first: old and new never live together
            roomy = np.empty(size + self._ALIGNMENT_FLOATS, np.float32)
            start = -roomy.ctypes.data // 4 % self._ALIGNMENT_FLOATS
            self._floats = roomy[start : start + size]
        return self._floats[:size].reshape(shape)


def _empty_state(spec: NetworkSpec, count: int) -> State:
    """Returns memory for the final h and, for an LSTM, c."""
    layers = spec.num_layers * spec.directions
    h = np.empty((layers, count, spec.state_size), np.float32)
    return State(
        h, np.empty((layers, count, spec.hidden_size), np.float32) if spec.cell is Cell.LSTM else None
    )


def _number(
    job: Job, words: EncodedWords, stop: Stop | None
) -> tuple[Int32[np.ndarray, "words positions"], Int32[np.ndarray, "batch seq"], int]:
    """Numbers a job's distinct states: for ``words``, for the answer, and how many rows it has.

    Raises AnswerTooLargeError if the job allows fewer.
    """
    numbered = number(
        words, whole_words=job.network.bidirectional, max_number=max(0, job.max_distinct), stop=stop
    )
    if numbered is None:
        raise AnswerTooLargeError(
            f"the reply would have more than {job.max_distinct} distinct states of "
            f"{job.network.output_size} float32 values and an index of {4 * job.position_count} bytes; this "
            f"server sends up to {job.max_reply_bytes} bytes in one reply; send fewer words at a time"
        )
    numbers, largest = numbered
    if job.layout is Layout.BATCH_FIRST:
        return numbers, numbers, largest + 1
    index = number_by_appearance(numbers.T)
    return np.ascontiguousarray(index.T), index, largest + 1


def number_by_appearance(numbers: Int32[np.ndarray, "batch seq"]) -> Int32[np.ndarray, "batch seq"]:
    """Renumbers 1, 2, ... by first appearance in row-major order; the result is C-contiguous.

    >>> number_by_appearance(np.array([[3, 2], [3, 1]], np.int32))
    array([[1, 2],
           [1, 3]], dtype=int32)
    """
    _, firsts, places = np.unique(numbers, return_index=True, return_inverse=True)
    ranks = np.empty(len(firsts), np.int32)
    ranks[np.argsort(firsts)] = np.arange(1, len(firsts) + 1, dtype=np.int32)
    return ranks[places].reshape(numbers.shape)
