"""Bindings of the native core, the shared library of the distribution unrolled-core."""

import ctypes
import os
import secrets
import struct
import weakref
from collections.abc import Sequence
from ctypes import POINTER, c_char_p, c_double, c_int, c_int32, c_int64, c_size_t, c_uint32, c_void_p
from functools import cache
from itertools import count, takewhile
from pathlib import Path

import numpy as np

from unrolled_server.array_types import Float32, Int32
from unrolled_server.engine.job import InitialStates, Output, Stop, StoppedError
from unrolled_server.engine.network import Network, Reply, TableFullError
from unrolled_server.engine.spec import Cell, NetworkSpec, Nonlinearity, WordVectors
from unrolled_server.engine.words import EncodedWords

try:
    from unrolled_core import LIBRARY
except ImportError:
    LIBRARY = None  # type: ignore[assignment]

_ABI_VERSION = 2
_BUILD = "build it with: pip install ./server/native"
_ISA_VARIABLE = "UNROLLED_ISA"
_FULL, _STOPPED, _NO_MEMORY = 1, 2, 3
_TOO_MANY, _NUMBERING_STOPPED = -1, -3  # of ur_number
_CELLS = {Cell.LSTM: 2, Cell.GRU: 3}
_ALL, _DISTINCT, _NONE = 0, 1, 5
_POOLED = {Output.LAST: 2, Output.MEAN: 3, Output.MAX: 4}
FLOAT_BYTES = 4
_REPLY = struct.Struct("@iPnnnPnPPn")  # ur_reply
_NO_STOP = None, 0
_MAX_DEADLINE_S = 9e9  # 285 years: more would not fit into 64 bits as nanoseconds


class CoreError(RuntimeError):
    """The native core is missing, of another version, or gives other bits."""


class InstructionSetError(CoreError):
    """UNROLLED_ISA names an instruction set that this CPU doesn't have."""


class GeneratorState(ctypes.Structure):
    """The state of torch's CPU generator, ur_generator."""

    _fields_ = (("words", c_uint32 * 624), ("next", c_uint32))


class _Spec(ctypes.Structure):
    _fields_ = (
        ("cell", c_int32), ("layers", c_int32), ("directions", c_int32), ("is_one_hot", c_int32),
        ("has_random_words", c_int32), ("word_seed", c_uint32),
        ("hidden", c_size_t), ("projection", c_size_t), ("inputs", c_size_t), ("symbols", c_size_t),
        ("vectors", c_void_p), ("vector_count", c_size_t), ("mean_vector", c_void_p),
        ("hash_seed", ctypes.c_uint64), ("leak_rate", c_double),
    )  # fmt: skip


class _Parameters(ctypes.Structure):
    _fields_ = tuple(
        (name, c_void_p) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
    )


class _Job(ctypes.Structure):
    _fields_ = (
        ("states", c_void_p), ("symbols", c_char_p), ("lengths", c_char_p), ("word_count", c_size_t),
        ("max_rows", c_size_t), ("status", c_int32),
    )  # fmt: skip


_WORDS = c_char_p, c_char_p, c_char_p, c_size_t
_STOP = POINTER(c_int32), c_int64
# Handles and arrays are passed as integers, which costs least. See unrolled_core.h.
_FUNCTIONS = {
    "ur_abi_version": (c_int, ()),
    "ur_isa_at": (c_char_p, (c_size_t,)),
    "ur_select_isa": (c_int, (c_char_p,)),
    "ur_isa": (c_char_p, ()),
    "ur_set_threads": (None, (c_size_t,)),
    "ur_keep_released": (None, (c_size_t,)),
    "ur_generator_seed": (None, (POINTER(GeneratorState), c_uint32)),
    "ur_draw_parameters": (None, (POINTER(GeneratorState), c_void_p, c_size_t, c_size_t)),
    "ur_draw_normal": (None, (POINTER(GeneratorState), c_void_p, c_size_t)),
    "ur_draw_mask": (None, (POINTER(GeneratorState), c_void_p, c_size_t, c_uint32)),
    "ur_scale": (None, (c_void_p, c_size_t, c_double)),
    "ur_draw_word": (None, (c_uint32, c_int32, c_void_p, c_size_t)),
    "ur_spectral_radius": (c_double, (c_void_p, c_size_t)),
    "ur_scale_to_radius": (c_int, (c_void_p, c_size_t, c_double, *_STOP)),
    "ur_weights_new": (c_void_p, (POINTER(_Spec), POINTER(_Parameters))),
    "ur_weights_free": (None, (c_void_p,)),
    "ur_weights_nbytes": (c_size_t, (POINTER(_Spec),)),
    "ur_row_nbytes": (c_size_t, (POINTER(_Spec),)),
    "ur_states_new": (c_void_p, (c_void_p, c_size_t, c_void_p, c_void_p)),
    "ur_states_free": (None, (c_void_p,)),
    "ur_states_nbytes": (c_size_t, (c_void_p,)),
    "ur_states_rows": (c_size_t, (c_void_p,)),
    "ur_run": (c_int, (c_void_p, *_WORDS, c_char_p, c_size_t, *_STOP)),
    "ur_run_many": (None, (POINTER(_Job), c_size_t)),
    "ur_is_known": (c_int, (c_void_p, *_WORDS)),
    "ur_number": (c_int64, (*_WORDS, c_int32, c_size_t, c_int64, c_void_p, *_STOP)),
}
# These keep Python's lock, because getting it back from a busy event loop takes longer than they do.
_BRIEF = frozenset(
    {"ur_states_nbytes", "ur_states_rows", "ur_weights_nbytes", "ur_row_nbytes", "ur_generator_seed"}
)


@cache
def library() -> ctypes.CDLL:
    """Loads the core and selects its instruction set; raises CoreError."""
    return load(LIBRARY, isa=os.environ.get(_ISA_VARIABLE, ""))


def load(file: Path | None, *, isa: str) -> ctypes.CDLL:
    """Returns a library that is checked, with the fastest instruction set unless ``isa`` names one.

    Raises CoreError if the library is missing or has another version, and InstructionSetError if the CPU does
    not support ``isa``.
    """
    if file is None:
        raise CoreError(f"the native core is not installed; {_BUILD}")
    try:
        library = ctypes.CDLL(str(file))
        found = library.ur_abi_version()
    except (OSError, AttributeError) as error:
        raise CoreError(f"the native core can't be loaded ({error}); {_BUILD}") from None
    if found != _ABI_VERSION:
        raise CoreError(
            f"the native core has interface {found}, and this server needs {_ABI_VERSION}; {_BUILD}"
        )
    brief = ctypes.PyDLL(str(file))
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(brief if name in _BRIEF else library, name)
        function.restype, function.argtypes = result, arguments
        setattr(library, name, function)
    if isa and library.ur_select_isa(isa.encode()):
        names = b", ".join(takewhile(bool, map(library.ur_isa_at, count()))).decode()
        raise InstructionSetError(f"{_ISA_VARIABLE} is {isa!r}; this CPU has {names}; name one or unset it")
    return library


def isa_name() -> str:
    """Returns the instruction set in use; raises CoreError."""
    name: bytes = library().ur_isa()
    return name.decode()


def set_threads(count: int) -> None:
    """Sets how many threads of the core, the caller's included, may share a call, up to 32.

    Fewer than before ends all but the caller's, as soon as no call uses them.
    """
    library().ur_set_threads(count)


def keep_released(limit_bytes: int) -> None:
    """Makes the core keep up to so many bytes of released memory for the next networks."""
    library().ur_keep_released(limit_bytes)


class Weights:
    """Packed weights of a network; immutable.

    Args:
        spec: The network.
        parameters: For each direction of each layer, from the input on, weight_ih, weight_hh, bias_ih,
            bias_hh and weight_hr in torch's shapes, or None; they are copied.
        vectors: What symbols stand for unless the network is one-hot; referred to, not copied.
    """

    def __init__(
        self,
        spec: NetworkSpec,
        parameters: Sequence[Sequence[Float32[np.ndarray, "..."] | None]],
        vectors: WordVectors | Float32[np.ndarray, "symbols size"] | None = None,
    ) -> None:
        core = library()
        self.vectors = vectors
        c_spec = _c_spec(spec, vectors)
        rows = [_Parameters(*map(_optional_address, row)) for row in parameters]
        self.handle: int = core.ur_weights_new(c_spec, (_Parameters * len(rows))(*rows))
        if not self.handle:
            raise MemoryError
        weakref.finalize(self, core.ur_weights_free, self.handle).atexit = False
        self.nbytes: int = core.ur_weights_nbytes(c_spec)
        if isinstance(vectors, np.ndarray):
            self.nbytes += vectors.nbytes
        self.row_nbytes: int = core.ur_row_nbytes(c_spec)


def _c_spec(spec: NetworkSpec, vectors: WordVectors | Float32[np.ndarray, "symbols size"] | None) -> _Spec:
    is_relu = spec.nonlinearity is Nonlinearity.RELU
    rows = vectors.rows if isinstance(vectors, WordVectors) else vectors
    return _Spec(
        cell=_CELLS.get(spec.cell, int(is_relu)),
        layers=spec.num_layers,
        directions=spec.directions,
        is_one_hot=spec.is_one_hot,
        has_random_words=spec.has_random_words,
        word_seed=spec.seed,
        hidden=spec.hidden_size,
        projection=spec.proj_size,
        inputs=spec.input_size,
        symbols=spec.symbol_count,
        vectors=_optional_address(rows),
        vector_count=0 if rows is None else len(rows),
        mean_vector=address_of(vectors.mean) if isinstance(vectors, WordVectors) else None,
        hash_seed=secrets.randbits(64),
        leak_rate=spec.leak_rate,
    )


class States(Network):
    """The computed states of a network; see `Network`."""

    def __init__(self, weights: Weights, starts: InitialStates | None = None) -> None:
        core = library()
        start_count, h, c = (starts.count, starts.h, starts.c) if starts else (0, None, None)
        handle = core.ur_states_new(weights.handle, start_count, _optional_address(h), _optional_address(c))
        if not handle:
            raise MemoryError
        # The finalizer refers to the weights, because they must be freed later.
        self._free = weakref.finalize(self, _free_states, handle, weights)
        self._free.atexit = False
        self._core, self.handle, self._weights = core, handle, weights
        self.weights_nbytes = weights.nbytes
        self.row_nbytes = weights.row_nbytes

    @property
    def nbytes(self) -> int:
        states: int = self._core.ur_states_nbytes(self.handle)
        return self.weights_nbytes + states

    @property
    def row_count(self) -> int:
        rows: int = self._core.ur_states_rows(self.handle)
        return rows

    def run(self, words: EncodedWords, reply: Reply, *, max_rows: int = 0, stop: Stop | None = None) -> None:
        """See `Network`."""
        status = self._core.ur_run(
            self.handle, words.symbols, words.sizes, words.starts, words.count, _c_reply(reply), max_rows,
            *(stop_arguments(stop) if stop else _NO_STOP),
        )  # fmt: skip
        if status:
            raise_for(status)

    def is_known(self, words: EncodedWords) -> bool:
        """See `Network`; False if another thread runs the network."""
        known: int = self._core.ur_is_known(
            self.handle, words.symbols, words.sizes, words.starts, words.count
        )
        return known == 1

    def starting_at(self, starts: InitialStates) -> "States":
        """See `Network`."""
        return States(self._weights, starts)

    def close(self) -> None:
        """See `Network`."""
        self._free()


def _free_states(handle: int, weights: Weights) -> None:  # noqa: ARG001 - keeps the weights until then
    library().ur_states_free(handle)


def compute_side_by_side(jobs: Sequence[tuple[States, EncodedWords, int]]) -> None:
    """Computes the missing states of words that start from zeros, for different networks.

    A job is (network, words, most rows) and runs on one thread. One that fails leaves its states missing.
    """
    rows = [
        _Job(states.handle, words.symbols, words.sizes, words.count, max_rows)
        for states, words, max_rows in jobs
    ]
    library().ur_run_many((_Job * len(rows))(*rows), len(rows))


def number(
    words: EncodedWords, *, whole_words: bool, max_number: int, stop: Stop | None = None
) -> tuple[Int32[np.ndarray, "words positions"], int] | None:
    """Numbers the distinct states of words from 1 by first appearance, word by word; 0 past a word's end.

    States are equal if prefix and initial state are, or with ``whole_words`` if word, position and initial
    state are. Returns the numbers and the largest, or None if that is above ``max_number``.
    """
    numbers = np.empty((words.count, words.max_length), np.int32)
    largest: int = library().ur_number(
        words.symbols, words.sizes, words.starts, words.count, whole_words, words.max_length, max_number,
        address_of(numbers), *stop_arguments(stop),
    )  # fmt: skip
    if largest >= 0:
        return numbers, largest
    if largest == _TOO_MANY:
        return None
    raise StoppedError if largest == _NUMBERING_STOPPED else MemoryError


def stop_arguments(stop: Stop | None) -> tuple[ctypes.c_int32 | None, int]:
    """Returns the flag and the deadline in nanoseconds."""
    if stop is None:
        return _NO_STOP
    return stop.flag, 0 if stop.deadline_s > _MAX_DEADLINE_S else max(1, int(stop.deadline_s * 1e9))


def raise_for(status: int) -> None:
    """Raises the exception for a status, unless that is 0."""
    if status:
        raise {_FULL: TableFullError, _STOPPED: StoppedError, _NO_MEMORY: MemoryError}[status]


def address_of(array: np.ndarray) -> int:
    """Returns where an array begins; the first way takes a quarter of the second's time."""
    try:
        return ctypes.addressof(ctypes.c_char.from_buffer(array))  # type: ignore[arg-type]
    except (TypeError, ValueError):  # read-only, not contiguous or empty
        return array.ctypes.data


def _optional_address(array: np.ndarray | None) -> int | None:
    return None if array is None else address_of(array)


def _c_reply(reply: Reply) -> bytes:
    """Returns the C form of a reply, ur_reply; packed, because that is faster than a ctypes.Structure."""
    values, numbers, h_n, c_n = reply.values, reply.numbers, reply.h_n, reply.c_n
    if values is None:
        return _REPLY.pack(_NONE, *[0] * 9)
    address = address_of(values)
    if numbers is not None:
        fields = _DISTINCT, address, 0, 0, numbers.shape[1], address_of(numbers), len(values)
    elif reply.output is Output.ALL:
        word_bytes, position_bytes, _ = values.strides
        strides = word_bytes // FLOAT_BYTES, position_bytes // FLOAT_BYTES
        fields = _ALL, address, *strides, values.shape[1], 0, 0
    else:
        fields = _POOLED[reply.output], address, values.strides[0] // FLOAT_BYTES, 0, 0, 0, 0
    if h_n is None:
        return _REPLY.pack(*fields, 0, 0, 0)
    state_words = h_n.strides[0] // (FLOAT_BYTES * h_n.shape[2])
    return _REPLY.pack(*fields, address_of(h_n), 0 if c_n is None else address_of(c_n), state_words)
