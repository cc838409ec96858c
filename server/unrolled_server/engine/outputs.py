"""What is sent of a network's states beside all of them: one vector a word, and where each word ends.

A file of its own because it reads tables and knows nothing of how they are filled.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Int32

from unrolled_server.engine.layers import Layers
from unrolled_server.engine.pooling import pool_max, pool_mean
from unrolled_server.engine.spec import Output, State


def pooled(
    layers: Layers,
    index: Int32[np.ndarray, "batch seq"],
    lengths: Int32[np.ndarray, " batch"],
    *,
    output: Output,
) -> Float32[np.ndarray, "batch output"]:
    """Gives one vector of the last layer for each word; not ``Output.ALL``."""
    table = layers.states[-1]
    if output is Output.LAST:
        return table.take(_last_rows(index, lengths))
    pool = pool_mean if output is Output.MEAN else pool_max
    return pool(table.on_cpu(), index, lengths)


def final_state(
    layers: Layers, index: Int32[np.ndarray, "batch seq"], lengths: Int32[np.ndarray, " batch"]
) -> State:
    """Gives h_n, and c_n of an LSTM: every layer's state after each word's last symbol."""
    last = _last_rows(index, lengths)
    h, c = (
        np.stack([table.take(last) for table in tables]) if tables else None
        for tables in (layers.states, layers.cells)
    )
    assert h is not None  # noqa: S101 - every network has a layer
    return State(h, c)


def joined_states(states: Sequence[State]) -> State:
    """Gives the states of words that were run in parts, as one."""
    h = np.concatenate([state.h for state in states], axis=1)
    cells = [state.c for state in states if state.c is not None]
    return State(h, np.concatenate(cells, axis=1) if cells else None)


def _last_rows(
    index: Int32[np.ndarray, "batch seq"], lengths: Int32[np.ndarray, " batch"]
) -> Int32[np.ndarray, " batch"]:
    rows: Int32[np.ndarray, " batch"] = index[np.arange(len(index)), lengths - 1]
    return rows
