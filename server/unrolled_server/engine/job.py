"""The values that enter and leave the engine: jobs, answers and states."""

import ctypes
import enum
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeAlias

import numpy as np

from unrolled_server.array_types import Float32, Int32
from unrolled_server.engine.spec import GATES, NetworkSpec
from unrolled_server.engine.words import EncodedWords

_UNLIMITED = 1 << 62
# Multiplications that take as long on one core as making a network (60 us) and each direction of its layers
# (40 us), as drawing a parameter (12 ns) or a number of an embedding (65 ns), as seeding the generator of a
# random word (7 us), and as scaling an element of a recurrent matrix to a spectral radius (100 to 400 ns);
# measured with AVX2.
_NETWORK_MULTIPLICATIONS = 2_000_000
_LAYER_MULTIPLICATIONS = 1_300_000
_DRAWING_MULTIPLICATIONS = 350
_NORMAL_MULTIPLICATIONS = 2_000
_SEEDING_MULTIPLICATIONS = 200_000
_RADIUS_MULTIPLICATIONS = 12_000


class Layout(enum.Enum):
    """The axis of (words, letters) along which the network recurs."""

    BATCH_FIRST = "batch_first"
    SEQ_FIRST = "seq_first"


class ReplyForm(enum.Enum):
    """How an answer carries its states."""

    DENSE = "dense"
    DISTINCT = "distinct"


class Output(enum.Enum):
    """What an answer holds of the last layer: all states, or one vector per word."""

    ALL = "all"
    LAST = "last"
    MEAN = "mean"
    MAX = "max"


class AnswerTooLargeError(ValueError):
    """The answer, or the states of one of its words, have more bytes than allowed."""


class NotWantedError(Exception):
    """The job was no longer wanted, so nothing was computed."""


class StoppedError(Exception):
    """The job was stopped; states that were finished stay valid."""


@dataclass(slots=True)
class Stop:
    """Ends a running job within about 10 ms: when it is set, from any thread, or at a deadline."""

    deadline_s: float = math.inf  # of time.monotonic
    flag: ctypes.c_int32 = field(default_factory=ctypes.c_int32)

    def set(self, *_: object) -> None:
        self.flag.value = 1

    def check(self) -> None:
        """Raises StoppedError if it was set or the deadline has passed."""
        if self.flag.value or time.monotonic() > self.deadline_s:
            raise StoppedError


@lru_cache(maxsize=1024)
def _multiplications_per_symbol(spec: NetworkSpec) -> int:
    """Counts one position's step through all layers and directions; input rows are looked up."""
    columns = GATES[spec.cell] * spec.hidden_size
    recurrent = spec.state_size * columns + spec.hidden_size * spec.proj_size
    inputs = (spec.num_layers - 1) * spec.output_size * columns
    return spec.directions * (spec.num_layers * recurrent + inputs)


@lru_cache(maxsize=1024)
def drawing_multiplications(spec: NetworkSpec) -> int:
    """Returns the multiplications that take as long as drawing and packing a network."""
    layers = spec.num_layers * spec.directions
    count = _NETWORK_MULTIPLICATIONS + layers * _LAYER_MULTIPLICATIONS
    count += spec.parameter_nbytes // 4 * _DRAWING_MULTIPLICATIONS
    count += spec.embedding_floats * _NORMAL_MULTIPLICATIONS
    if spec.density != 1:
        count += layers * spec.hidden_size**2 * _DRAWING_MULTIPLICATIONS
    if spec.spectral_radius:
        count += layers * GATES[spec.cell] * spec.hidden_size**2 * _RADIUS_MULTIPLICATIONS
    return count


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """Each word's recurrent state in torch's shapes and order; ``c`` is an LSTM's."""

    h: Float32[np.ndarray, "layers batch state"]
    c: Float32[np.ndarray, "layers batch hidden"] | None = None


NewValues: TypeAlias = Callable[
    [tuple[int, ...], Int32[np.ndarray, "batch seq"] | None, State | None],
    Float32[np.ndarray, "*rows output"],
]
"""Returns C-contiguous memory for an answer's values, given their shape, the index, and the final state,
which is not yet computed."""


class InitialStates:
    """The distinct initial states of a request, in torch's order of layers.

    Attributes:
        of_words: The number of each word's state.
        count: The number of states in ``h`` and ``c``.
    """

    def __init__(self, state: State) -> None:
        arrays = [state.h] if state.c is None else [state.h, state.c]
        flat = np.ascontiguousarray(
            np.concatenate([array.swapaxes(0, 1).reshape(array.shape[1], -1) for array in arrays], axis=1)
        )  # (batch, all floats of a word)
        whole = flat.view(np.dtype((np.void, flat.shape[1] * flat.itemsize))).ravel()
        _, firsts, of_words = np.unique(whole, return_index=True, return_inverse=True)
        self.of_words: Int32[np.ndarray, " batch"] = of_words.ravel().astype(np.int32)
        self.count = len(firsts)
        self.h: Float32[np.ndarray, "layers count state"] = np.ascontiguousarray(state.h[:, firsts])
        self.c: Float32[np.ndarray, "layers count hidden"] | None = (
            None if state.c is None else np.ascontiguousarray(state.c[:, firsts])
        )


@dataclass(slots=True, kw_only=True)  # frozen ones take three times as long to make
class Job:
    """One validated request.

    Attributes:
        words: Their symbols are below ``network.symbol_count``, or equal it for zeros instead of a letter.
            The outputs of a word without symbols are zeros.
        layout: ``SEQ_FIRST`` needs words of one length, which isn't 0, and ``Output.ALL``.
        form: ``DISTINCT`` sends each state once, and needs ``Output.ALL``. Without positions it is dense.
        max_reply_bytes: For a distinct answer, whose size is known only with its prefixes.
        initial_state: None for zeros. With ``SEQ_FIRST`` there is one per position, as in torch.
        new_values: Where the answer's values are written; None for memory of the engine.
    """

    network: NetworkSpec
    words: EncodedWords
    layout: Layout = Layout.BATCH_FIRST
    form: ReplyForm = ReplyForm.DENSE
    max_reply_bytes: int = _UNLIMITED
    output: Output = Output.ALL
    return_final_state: bool = False
    initial_state: State | None = None
    new_values: NewValues | None = None

    @property
    def multiplications(self) -> int:
        """Multiplications of floats if no prefix is cached."""
        network, rows = self.network, self.words.letter_count
        count = 0
        if not network.is_one_hot:
            columns = GATES[network.cell] * network.hidden_size * network.directions
            count = min(rows, network.symbol_count) * network.input_size * columns
            if network.has_random_words:
                vector = network.input_size * _NORMAL_MULTIPLICATIONS + _SEEDING_MULTIPLICATIONS
                count += self.words.distinct_count * vector
        if self.form is ReplyForm.DISTINCT:
            rows = max(0, min(rows, self.max_distinct))
        return count + rows * _multiplications_per_symbol(network)

    @property
    def reply_bytes(self) -> int:
        """Bytes of the answer's values, index and final state, at most."""
        rows, index = math.prod(self.places), 0
        if self.form is ReplyForm.DISTINCT:
            rows, index = 1 + min(self.words.letter_count, self.max_distinct), rows
        state = self._final_state_floats if self.return_final_state else 0
        return 4 * (index + rows * self.network.output_size + state)

    @property
    def min_reply_bytes(self) -> int:
        """Bytes of a distinct answer in which all states are equal."""
        return 4 * (self.position_count + 2 * self.network.output_size + self._final_state_floats)

    @property
    def places(self) -> tuple[int, ...]:
        """Where the answer has a vector: (batch, seq), or pooled (batch,)."""
        words = self.words
        return (words.count, words.max_length) if self.output is Output.ALL else (words.count,)

    @property
    def position_count(self) -> int:
        """Positions of the words, padding included: batch x seq."""
        return len(self.words) * self.words.max_length

    @property
    def max_distinct(self) -> int:
        """The most states that a distinct answer may have beside the zero state."""
        floats = self.max_reply_bytes // 4 - self.position_count - self._final_state_floats
        return floats // self.network.output_size - 1

    @property
    def may_be_too_large(self) -> bool:
        """Whether the prefixes must be counted to know if the answer is allowed."""
        return self.form is ReplyForm.DISTINCT and self.words.letter_count > self.max_distinct

    @property
    def _final_state_floats(self) -> int:
        if not self.return_final_state:
            return 0
        batch = len(self.words) if self.layout is Layout.BATCH_FIRST else self.words.max_length
        return batch * self.network.final_state_floats


@dataclass(slots=True)
class Answer:
    """The outputs of one job.

    Attributes:
        values: C-contiguous: (batch, seq, output), zero past a word's end, or pooled (batch, output), or in
            the distinct form (rows, output) with row 0 all zeros. The engine's own memory is borrowed: its
            next answer overwrites it.
        index: In the distinct form, the row of each position, numbered by first appearance in row-major
            order; the dense values are ``values[index]``.
        final_state: h_n and c_n if the job asks for them; not borrowed.
    """

    values: Float32[np.ndarray, "*rows output"]
    index: Int32[np.ndarray, "batch seq"] | None = None
    final_state: State | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the dense values: (batch, seq, output), or pooled (batch, output)."""
        return self.values.shape if self.index is None else (*self.index.shape, self.values.shape[1])
