"""Numbers the states of one reply, each once.

A file of its own because the numbers must come from the request alone: the rows of a state table depend on
what was asked before, and the promise of equal bits covers a reply's index.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32, Int64

from unrolled_server.engine.words import EncodedWords


@dataclass(frozen=True, slots=True)
class Numbering:
    """The distinct states of a reply, numbered from 1 by first appearance; 0 is the zero state.

    Attributes:
        index: The number at each position, C-contiguous; 0 past a word's end.
        firsts: Where numbers 1, 2, ... appear first, as places in the flattened index.
    """

    index: Int32[np.ndarray, "batch seq"]
    firsts: Int64[np.ndarray, " numbers"]


def number_by_appearance(rows: Int32[np.ndarray, "batch seq"]) -> Numbering:
    """Renames rows so that their numbers tell nothing of the table.

    >>> number_by_appearance(np.array([[7, 3], [7, 0]], np.int32)).index
    array([[1, 2],
           [1, 0]], dtype=int32)
    """
    flat = rows.ravel()
    places = np.arange(flat.size, dtype=np.int32)
    by_row = np.empty(int(flat.max()) + 1, np.int32)
    by_row[flat[::-1]] = places[::-1]  # of a row that comes more than once, the last to be written stays
    firsts = np.flatnonzero((by_row.take(flat) == places) & (flat != 0))
    by_row[flat.take(firsts)] = np.arange(1, len(firsts) + 1, dtype=np.int32)
    by_row[0] = 0
    return Numbering(by_row.take(flat).reshape(rows.shape), firsts)


def prefix_rows(words: EncodedWords, *, max_rows: int) -> Int32[np.ndarray, "batch seq"] | None:
    """Gives each letter's prefix a number above 0, without a tree and in memory of the answer's size.

    Returns:
        Numbers that are equal where the prefixes are, 0 past a word's end; None beyond ``max_rows`` of them.
    """
    lengths, codes = words.lengths, words.codes
    begins = np.cumsum(lengths) - lengths
    rows = np.zeros((len(lengths), int(lengths.max())), np.int32)
    parents = np.array(words.roots(0), np.int64)
    count, symbol_count = int(parents.max()), int(codes.max()) + 1
    max_rows += count
    for position in range(rows.shape[1]):
        reaching = np.flatnonzero(lengths > position)
        keys = parents[reaching] * symbol_count + codes[begins[reaching] + position]
        distinct, places = np.unique(keys, return_inverse=True)
        parents[reaching] = rows[reaching, position] = places.ravel() + count + 1
        count += len(distinct)
        if count > max_rows:
            return None
    return rows


def word_rows(words: EncodedWords, *, max_rows: int) -> Int32[np.ndarray, "batch seq"] | None:
    """Gives each letter a number above 0 that tells word and place, what two directions depend on.

    Returns:
        Numbers that are equal where both are, 0 past a word's end; None beyond ``max_rows`` of them.
    """
    lengths = words.lengths
    numbers: dict[bytes, int] = {}
    of_words = np.array([numbers.setdefault(key, len(numbers)) for key in words.symbol_keys()])
    firsts = np.unique(of_words, return_index=True)[1]
    ends = np.cumsum(lengths[firsts])
    if ends[-1] > max_rows:
        return None
    begins = (ends - lengths[firsts])[of_words]
    places = np.arange(1, int(lengths.max()) + 1)
    # (words, 1) and (seq,) -> (words, seq)
    rows = np.where(places <= lengths[:, np.newaxis], begins[:, np.newaxis] + places, 0)
    return rows.astype(np.int32)
