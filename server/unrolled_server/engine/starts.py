"""Given initial states, deduplicated: words that start alike share their prefixes."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Int32

from unrolled_server.engine.job import State


class InitialStates:
    """The ``count`` distinct initial states of a request; ``of_words`` has the number of each word's."""

    def __init__(self, state: State) -> None:
        arrays = [state.h] if state.c is None else [state.h, state.c]
        flat = np.ascontiguousarray(
            np.concatenate([array.swapaxes(0, 1).reshape(array.shape[1], -1) for array in arrays], axis=1)
        )  # (batch, all floats of a word)
        whole = flat.view(np.dtype((np.void, flat.shape[1] * flat.itemsize))).ravel()
        _, firsts, of_words = np.unique(whole, return_index=True, return_inverse=True)
        self.of_words: Int32[np.ndarray, " batch"] = of_words.ravel().astype(np.int32)
        self.count = len(firsts)
        self._h = state.h[:, firsts]
        self._c = None if state.c is None else state.c[:, firsts]

    def h(self, layers: slice) -> Sequence[Float32[np.ndarray, "count state"]]:
        """Returns the hidden states for some of torch's layers (a direction counts as one)."""
        return list(self._h[layers])

    def c(self, layers: slice) -> Sequence[Float32[np.ndarray, "count hidden"]]:
        """Returns the cell states for the same layers; empty if the cell has none."""
        return [] if self._c is None else list(self._c[layers])
