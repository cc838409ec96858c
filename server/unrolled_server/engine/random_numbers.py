"""Random numbers, masks and scaled matrices from the native core, with the same bits on every CPU."""

import math
from collections.abc import Iterator

import numpy as np

from unrolled_server.array_types import Float32
from unrolled_server.engine.core import (
    FLOAT_BYTES,
    GeneratorState,
    address_of,
    library,
    raise_for,
    stop_arguments,
)
from unrolled_server.engine.job import Stop

_DRAWN_FLOATS = 1 << 19  # in a call of the core, of some 10 ms


class Generator:
    """The CPU generator of torch: the same numbers from the same 32-bit seed."""

    def __init__(self, seed: int) -> None:
        self._core = library()
        self._state = GeneratorState()
        self._core.ur_generator_seed(self._state, seed)

    def uniform(
        self, shape: tuple[int, ...], hidden_size: int, stop: Stop | None = None
    ) -> Float32[np.ndarray, "..."]:
        """Returns what ``torch.empty(shape).uniform_(-bound, bound)`` has; bound is 1/sqrt(hidden_size).

        Raises StoppedError if ``stop`` is due.
        """
        values = np.empty(shape, np.float32)
        for address, size in _parts(values, stop):
            self._core.ur_draw_parameters(self._state, address, size, hidden_size)
        return values

    def normal(self, shape: tuple[int, ...]) -> Float32[np.ndarray, "..."]:
        """Returns what ``torch.empty(shape).normal_()`` has on x86 with AVX2."""
        values = np.empty(shape, np.float32)
        self._core.ur_draw_normal(self._state, address_of(values), values.size)
        return values

    def mask(self, values: Float32[np.ndarray, "..."], density: float, stop: Stop | None = None) -> None:
        """Sets values of contiguous memory to 0 where ``torch.rand`` gives a number not below ``density``.

        Raises StoppedError if ``stop`` is due.
        """
        limit = math.ceil(density * 2**24)  # torch.rand gives multiples of 2^-24
        for address, size in _parts(values, stop):
            self._core.ur_draw_mask(self._state, address, size, limit)


def scale(values: Float32[np.ndarray, "..."], factor: float, stop: Stop | None = None) -> None:
    """Multiplies each value of contiguous memory by ``factor`` as a float32; raises StoppedError."""
    for address, size in _parts(values, stop):
        library().ur_scale(address, size, factor)


def _parts(values: Float32[np.ndarray, "..."], stop: Stop | None) -> Iterator[tuple[int, int]]:
    """Yields address and size of parts that take some 10 ms each; raises StoppedError if ``stop`` is due."""
    address = address_of(values)
    for at in range(0, values.size, _DRAWN_FLOATS):
        if stop is not None:
            stop.check()
        yield address + at * FLOAT_BYTES, min(values.size - at, _DRAWN_FLOATS)


def word_vector(seed: int, symbol: int, size: int) -> Float32[np.ndarray, " size"]:
    """Returns the random vector of a word: standard normal numbers of a generator for seed and symbol."""
    values = np.empty(size, np.float32)
    library().ur_draw_word(seed, symbol, address_of(values), size)
    return values


def spectral_radius(matrix: Float32[np.ndarray, "n n"]) -> float:
    """Returns the largest absolute eigenvalue of a contiguous matrix, with the same bits on every CPU."""
    radius: float = library().ur_spectral_radius(address_of(matrix), len(matrix))
    if math.isnan(radius):
        raise MemoryError
    return radius


def scale_to_radius(matrix: Float32[np.ndarray, "n n"], radius: float, stop: Stop | None = None) -> None:
    """Multiplies a contiguous matrix by one float32 number, so that its spectral radius is ``radius``.

    A matrix without an eigenvalue but 0 stays as it is.
    """
    status = library().ur_scale_to_radius(address_of(matrix), len(matrix), radius, *stop_arguments(stop))
    raise_for(status)
