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


# A product's bits may depend on where its operands begin in a cache line; torch's own memory begins at one.
_ALIGNMENT_BYTES = 64


def zeros(*shape: int) -> Float32[np.ndarray, "..."]:
    """Gives a float32 array of zeros, C order, at a cache line; pages are taken as they are first written."""
    count = math.prod(shape)
    if _MIN_MAPPED_BYTES <= 4 * count < _MAX_MAPPED_BYTES:
        mapping = mmap.mmap(-1, 4 * count, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        return np.frombuffer(mapping, np.float32, count).reshape(shape)
    roomy = np.zeros(count + _ALIGNMENT_BYTES // 4, np.float32)
    start = -roomy.ctypes.data % _ALIGNMENT_BYTES // 4
    return roomy[start : start + count].reshape(shape)
