"""Numbers the distinct states of one reply by the request alone, as rows depend on earlier requests."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32, Int64

from unrolled_server.engine.words import EncodedWords


@dataclass(frozen=True, slots=True)
class Numbering:
    """The distinct states of a reply, numbered from 1 by first appearance; 0 is the zero state.

    ``index`` has the number at each position, 0 past a word's end, C-contiguous; ``firsts`` the places in the
    flattened index where numbers 1, 2, ... appear first.
    """

    index: Int32[np.ndarray, "batch seq"]
    firsts: Int64[np.ndarray, " numbers"]


def number_by_appearance(rows: Int32[np.ndarray, "batch seq"]) -> Numbering:
    """Renumbers rows so that the numbers do not depend on the table.

    >>> number_by_appearance(np.array([[7, 3], [7, 0]], np.int32)).index
    array([[1, 2],
           [1, 0]], dtype=int32)
    """
    flat = rows.ravel()
    places = np.arange(flat.size, dtype=np.int32)
    by_row = np.empty(int(flat.max()) + 1, np.int32)
    by_row[flat[::-1]] = places[::-1]  # if a row occurs more than once, its first place is written last
    firsts = np.flatnonzero((by_row.take(flat) == places) & (flat != 0))
    by_row[flat.take(firsts)] = np.arange(1, len(firsts) + 1, dtype=np.int32)
    by_row[0] = 0
    return Numbering(by_row.take(flat).reshape(rows.shape), firsts)


def prefix_rows(words: EncodedWords, *, max_rows: int) -> Int32[np.ndarray, "batch seq"] | None:
    """Numbers each letter's prefix from 1, without a tree and in memory of the answer's size.

    Equal prefixes have equal numbers; 0 past a word's end. Returns None beyond ``max_rows`` numbers.
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
    """Numbers each letter from 1 by word and position, which two directions depend on.

    Equal pairs have equal numbers; 0 past a word's end. Returns None beyond ``max_rows`` numbers.
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
