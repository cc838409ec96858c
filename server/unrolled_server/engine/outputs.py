"""One vector per word from a table of states."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Int32

from unrolled_server.engine.job import Output, State
from unrolled_server.engine.pooling import pool_max, pool_mean
from unrolled_server.engine.states import StateTable


def pooled(
    table: StateTable,
    index: Int32[np.ndarray, "batch seq"],
    lengths: Int32[np.ndarray, " batch"],
    *,
    output: Output,
) -> Float32[np.ndarray, "batch hidden"]:
    """Returns one vector per word; not for ``Output.ALL``."""
    if output is Output.LAST:
        return table.take(last_rows(index, lengths))
    pool = pool_mean if output is Output.MEAN else pool_max
    return pool(table.on_cpu(), index, lengths)


def joined_states(states: Sequence[State]) -> State:
    """Joins the states of words that were run in parts."""
    h = np.concatenate([state.h for state in states], axis=1)
    cells = [state.c for state in states if state.c is not None]
    return State(h, np.concatenate(cells, axis=1) if cells else None)


def last_rows(
    index: Int32[np.ndarray, "batch seq"], lengths: Int32[np.ndarray, " batch"]
) -> Int32[np.ndarray, " batch"]:
    """Returns the row of each word's last letter."""
    rows: Int32[np.ndarray, " batch"] = index[np.arange(len(index)), lengths - 1]
    return rows
