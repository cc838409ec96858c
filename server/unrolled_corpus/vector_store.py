"""The vectors of a range's distinct texts on disk, and how a slice finds those of its own.

A file of its own because the second pass writes these files and the third reads them.

A slice's texts and a range's are sorted alike, so those of a slice in a range are one run: the range keeps
for each slice how many there are (`counts`) and the place of each among its own (`ranks`), and nobody
compares texts again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled_corpus.seeds import column_of

COUNTS = "counts.npy"
RANKS = "ranks.npy"
STARTS = "starts.npy"

Numbers: TypeAlias = npt.NDArray[np.int64]
Vectors: TypeAlias = npt.NDArray[np.float32]


def vector_file(folder: Path, seed: int) -> Path:
    """Rows of float32, one after the other, text by text."""
    return folder / f"{column_of(seed)}.f32"


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where the vectors of one slice's distinct texts are.

    Attributes:
        folders: Of the ranges.
        ends: How many of the slice's texts are in each range or one before it.
        starts: The first row of each text in its range's files.
        sizes: The rows of each text: 1, or with all states its symbols. One more than there are texts; the
            last is for rows without a text, which get zeros.
    """

    folders: Sequence[Path]
    ends: Numbers
    starts: Numbers
    sizes: Numbers

    def gather(self, codes: npt.NDArray[np.int32], *, seed: int, width: int) -> Vectors:
        """The rows of the texts with these numbers, (rows, width), one text after the other.

        Every text is read once, however often its number is there; files are read where they are needed only.
        """
        used, inverse = np.unique(codes, return_inverse=True)
        cuts = np.searchsorted(used, self.ends)
        found = np.zeros((int(self.sizes[used].sum()), width), np.float32)
        first, filled = 0, 0
        for folder, cut in zip(self.folders, cuts.tolist(), strict=True):
            if cut > first:
                texts = used[first:cut]
                rows = runs(self.starts[texts], self.sizes[texts])
                _take(vector_file(folder, seed), rows, out=found[filled : filled + len(rows)])
                filled += len(rows)
            first = cut
        begins = np.cumsum(self.sizes[used]) - self.sizes[used]
        return found[runs(begins[inverse], self.sizes[codes])]


def places_of(folders: Sequence[Path], number: int, *, empty_size: int) -> Places:
    """Returns where the texts of a slice are; a row of the input without a text gets `empty_size` rows."""
    counts, starts, sizes = [], [], []
    for folder in folders:
        of_slices = np.load(folder / COUNTS, mmap_mode="r")
        begin, count = int(of_slices[:number].sum()), int(of_slices[number])
        ranks = np.load(folder / RANKS, mmap_mode="r")[begin : begin + count]
        of_texts = np.load(folder / STARTS, mmap_mode="r")
        counts.append(count)
        starts.append(of_texts[ranks])
        sizes.append(of_texts[ranks + 1] - starts[-1])
    return Places(
        folders=folders,
        ends=np.cumsum(counts),
        starts=np.concatenate(starts),
        sizes=np.concatenate([*sizes, [empty_size]]),
    )


def runs(starts: Numbers, sizes: Numbers) -> Numbers:
    """The numbers ``start`` to ``start + size - 1`` of each pair, one after the other.

    >>> runs(np.array([7, 2]), np.array([2, 3])).tolist()
    [7, 8, 2, 3, 4]
    """
    ends = np.cumsum(sizes)
    numbers: Numbers = np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - sizes), sizes)
    return numbers


def _take(file: Path, rows: Numbers, *, out: Vectors) -> None:
    """Reads rows into memory that is there; mapped, so that a page is read once and given back at once."""
    mapped = np.memmap(file, np.float32, "r").reshape(-1, out.shape[1])
    np.take(mapped, rows, axis=0, out=out, mode="clip")
