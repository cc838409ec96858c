"""Memory for states and weights, which goes back to the system when it is freed.

A file of its own because malloc alone is the wrong place for what is held long and freed in any order: its
heap keeps the holes, and under 5,000 networks a budget of 256 MiB grew to 330 MiB resident.
"""

import math
import mmap

import numpy as np
from jaxtyping import Float32

# Below, a mapping of its own would waste a good part of its last page.
_MIN_MAPPED_BYTES = 64 << 10
# From here on malloc's warm pages are worth more than its holes: with fresh mappings a reply of 12 MB, met
# for the first time, took 1.2 to 1.4 times as long.
_MAX_MAPPED_BYTES = 4 << 20


def zeros(*shape: int) -> Float32[np.ndarray, "..."]:
    """Gives a float32 array of zeros, C order; pages are taken as they are first written."""
    count = math.prod(shape)
    if not _MIN_MAPPED_BYTES <= 4 * count < _MAX_MAPPED_BYTES:
        return np.zeros(shape, np.float32)
    mapping = mmap.mmap(-1, 4 * count, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return np.frombuffer(mapping, np.float32, count).reshape(shape)
