"""Allocated memory is zeroed, exclusive, and returned to the system."""

import gc

import numpy as np
import psutil
import pytest
from unrolled_server.engine.memory import zeros

MIB = 2**20


@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (5, 7), (300, 300), (5_000, 300)])
def test_memory_is_zeroed_and_writable(shape):
    array = zeros(*shape)
    array[...] = 1
    assert array.shape == shape
    assert array.dtype == np.float32
    assert array.flags.c_contiguous
    assert array.ctypes.data % 64 == 0 or not array.size
    assert not zeros(*shape).any()


def test_memory_returns_to_the_system_in_any_order_of_frees():
    process = psutil.Process()
    arrays = [zeros(1, MIB // 4 - 1) for _ in range(64)]
    for array in arrays:
        array.fill(1)
    held = process.memory_info().rss
    del arrays[::2], array
    gc.collect()
    assert held - process.memory_info().rss > 24 * MIB
