"""One vector per word from a table of states, whatever shares its batch."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float32, Int32

from unrolled_server.engine.job import Output, State
from unrolled_server.engine.states import StateTable

Rows = Float32[np.ndarray, "rows hidden"]
Pooled = Float32[np.ndarray, "batch hidden"]
Index = Int32[np.ndarray, "batch seq"]
Lengths = Int32[np.ndarray, " batch"]


def pool_mean(rows: Rows, index: Index, lengths: Lengths) -> Pooled:
    """Returns each word's mean state, (batch, hidden).

    The sum runs in float32 from the first position to the last; one float32 division by the length ends it.
    ``index`` is the row of each word's state at each position; nothing past a word's end is read.
    """
    return _fold(rows, index, lengths, np.add) / lengths.astype(np.float32)[:, None]


def pool_max(rows: Rows, index: Index, lengths: Lengths) -> Pooled:
    """Returns each word's largest state, unit by unit; arguments as in `pool_mean`.

    A zero is +0.0: of -0.0 and +0.0, vector bodies and scalar tails may choose differently. NaN stays NaN.
    """
    return _fold(rows, index, lengths, np.maximum) + np.float32(0)


@np.errstate(over="ignore", invalid="ignore")  # initial states, and so sums, may be any numbers
def _fold(rows: Rows, index: Index, lengths: Lengths, combine: Callable[..., object]) -> Pooled:
    """Combines each word's states from first to last; longest words first, so each step is a prefix."""
    order = np.argsort(-lengths, kind="stable")
    columns = np.ascontiguousarray(index[order].T)  # (batch, seq) -> (seq, batch), longest words first
    folded = rows[columns[0]] if len(columns) else np.zeros((len(index), rows.shape[1]), np.float32)
    taken = np.empty_like(folded)
    reaching = np.searchsorted(-lengths[order], -np.arange(1, len(columns)), side="left")
    for position, count in enumerate(reaching.tolist(), start=1):
        # "clip" lets numpy write into `out` directly; no row is out of range.
        states = np.take(rows, columns[position, :count], axis=0, out=taken[:count], mode="clip")
        combine(folded[:count], states, out=folded[:count])
    pooled = np.empty_like(folded)
    pooled[order] = folded
    return pooled


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
