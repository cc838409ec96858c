"""Rows of whole words: above a bidirectional network's first layer a state depends on its whole word."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32, Int64

from unrolled_server.engine.children import TableFullError
from unrolled_server.engine.prefix_tree import Step
from unrolled_server.engine.words import EncodedWords

_WORD_NBYTES = 250  # two bytes objects and a dict entry without the letters, measured
_COLUMNS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class NewWords:
    """The steps to compute, in every layer: one for each position from the words' start, and from their end.

    A symbol is a place; ``below`` has each place's rows in the first layer, ``pairs`` its rows here.
    """

    forward: list[Step]
    backward: list[Step]
    below: Int64[np.ndarray, "places 2"]
    pairs: Int64[np.ndarray, "places 2"]


class WholeWords:
    """The words of one network: (word, position) -> a row in each direction. Not thread-safe.

    Rows are handed out position by position, longest words first, so those of one position are consecutive:
    one step, as in a tree. Words start at the first ``root_count`` rows; row 0, the padding, is one of them.
    ``first_roots`` are the first of these for the forward and the backward direction.
    """

    # What one more row costs beside its states; a word has two rows a letter, and its letters as a key.
    row_nbytes = _WORD_NBYTES // 2 + 6

    def __init__(self, *, first_roots: tuple[int, int], root_count: int) -> None:
        self._first_roots = first_roots
        self._root_count = root_count
        self.clear()

    def clear(self) -> None:
        """Drops every word; the roots stay."""
        self._rows_of: dict[bytes, bytes] = {}
        self.row_count = self._root_count

    @property
    def known_count(self) -> int:
        return self.row_count - self._root_count

    @property
    def nbytes(self) -> int:
        return _WORD_NBYTES * len(self._rows_of) + 6 * self.row_count

    def resolve(
        self, words: EncodedWords, below: Int32[np.ndarray, "batch seq 2"], *, max_rows: int | None
    ) -> tuple[Int32[np.ndarray, "batch seq 2"], NewWords | None]:
        """Finds each letter's rows, adding new words; ``below`` are their rows in the first layer.

        Raises TableFullError beyond ``max_rows`` rows; then it must be cleared.
        """
        keys = words.symbol_keys()
        places = {key: at for at, key in enumerate(keys) if key not in self._rows_of}
        new = self._add(words, places, below, max_rows) if places else None
        seq = below.shape[1]
        rows = [self._rows_of[key].ljust(seq * 4 * _COLUMNS, b"\0") for key in keys]
        index = np.frombuffer(b"".join(rows), np.int32).reshape(len(rows), seq, _COLUMNS)
        return index, new

    def _add(
        self,
        words: EncodedWords,
        places: dict[bytes, int],
        below: Int32[np.ndarray, "batch seq 2"],
        max_rows: int | None,
    ) -> NewWords:
        """Hands out the rows of new words, given where each stands."""
        lengths = words.lengths[list(places.values())]
        order = np.argsort(-lengths, kind="stable")
        lengths, at = lengths[order], np.array(list(places.values()))[order]
        reaching = len(lengths) - np.cumsum(np.bincount(lengths))[:-1]  # words longer than 0, 1, ...
        begins = np.cumsum(reaching) - reaching  # where each position's places begin
        place_count = int(reaching.sum())
        first_row = self.row_count
        if max_rows is not None and first_row + _COLUMNS * place_count > max_rows:
            raise TableFullError
        self.row_count += _COLUMNS * place_count
        # For each place: its word, and its position from the start and from the end.
        word = np.concatenate([np.arange(count) for count in reaching])
        position = np.repeat(np.arange(len(reaching)), reaching)
        from_end = lengths[word] - 1 - position
        mirrored = begins[from_end] + word
        pairs = np.stack([first_row + np.arange(place_count), first_row + place_count + mirrored], axis=1)
        self._keep(list(places), order, lengths, begins, pairs)
        starts = np.array(words.roots(0), np.int64)[at]
        forward, backward = (
            _steps(reaching, begins, first_row=first, roots=root + starts, places=read)
            for first, root, read in (
                (first_row, self._first_roots[0], np.arange(place_count)),
                (first_row + place_count, self._first_roots[1], mirrored),
            )
        )
        return NewWords(
            forward=forward, backward=backward, below=below[at[word], position].astype(np.int64), pairs=pairs
        )

    def _keep(
        self,
        keys: list[bytes],
        order: Int64[np.ndarray, " words"],
        lengths: Int32[np.ndarray, " words"],
        begins: Int64[np.ndarray, " seq"],
        pairs: Int64[np.ndarray, "places 2"],
    ) -> None:
        rows = pairs.astype(np.int32)
        for rank, (which, length) in enumerate(zip(order.tolist(), lengths.tolist(), strict=True)):
            self._rows_of[keys[which]] = rows[begins[:length] + rank].tobytes()


def _steps(
    reaching: Int64[np.ndarray, " seq"],
    begins: Int64[np.ndarray, " seq"],
    *,
    first_row: int,
    roots: Int64[np.ndarray, " words"],
    places: Int64[np.ndarray, " places"],
) -> list[Step]:
    """Returns one direction's steps: the word of rank r has the r-th row of each position that it reaches."""
    steps = []
    parents = roots
    for count, begin in zip(reaching.tolist(), begins.tolist(), strict=True):
        steps.append(Step(first_row + begin, parents[:count], places[begin : begin + count]))
        parents = np.arange(first_row + begin, first_row + begin + count)
    return steps
