"""The files with the vectors of a range's distinct texts: the second pass writes them, the third reads them.

The texts of a slice and of a range are sorted alike, so a slice's texts in a range are consecutive. The range
keeps their number for each slice (`COUNTS`) and the index of each among its own texts (`RANKS`); the third
pass then compares no texts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled_corpus.parameters import seed_column

COUNTS = "counts.npy"
RANKS = "ranks.npy"
STARTS = "starts.npy"

Indices: TypeAlias = npt.NDArray[np.int64]
Vectors: TypeAlias = npt.NDArray[np.float32]


def vector_file(folder: Path, seed: int) -> Path:
    """Returns the path of a range's vectors: rows of float32, text by text."""
    return folder / f"{seed_column(seed)}.f32"


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceVectors:
    """Where the vectors of one slice's distinct texts are, in the folders of the ranges.

    Attributes:
        ends: How many of the slice's texts are in each range and those before it.
        starts: The first row of each text in its range's files.
        sizes: The rows of each text: 1, or its symbols if all states are wanted. The last one is for rows
            without a text, whose vectors are zeros.
    """

    folders: Sequence[Path]
    ends: Indices
    starts: Indices
    sizes: Indices

    @classmethod
    def open(cls, folders: Sequence[Path], number: int, *, empty_size: int) -> Self:
        """Looks up the texts of a slice; a row without a text gets `empty_size` rows."""
        counts, starts, sizes = [], [], []
        for folder in folders:
            slice_counts = np.load(folder / COUNTS, mmap_mode="r")
            begin, count = int(slice_counts[:number].sum()), int(slice_counts[number])
            ranks = np.load(folder / RANKS, mmap_mode="r")[begin : begin + count]
            range_starts = np.load(folder / STARTS, mmap_mode="r")
            counts.append(count)
            starts.append(range_starts[ranks])
            sizes.append(range_starts[ranks + 1] - starts[-1])
        return cls(
            folders=folders,
            ends=np.cumsum(counts),
            starts=np.concatenate(starts),
            sizes=np.concatenate([*sizes, [empty_size]]),
        )

    @property
    def text_count(self) -> int:
        """The code of rows without a text."""
        return int(self.ends[-1])

    def gather(self, codes: npt.NDArray[np.int32], *, seed: int, width: int) -> Vectors:
        """Reads the vectors of the texts with these codes, (rows, width), one text after the other.

        Each text is read once, and only the pages that have it: files are mapped.
        """
        used, inverse = np.unique(codes, return_inverse=True)
        cuts = np.searchsorted(used, self.ends)
        found = np.zeros((int(self.sizes[used].sum()), width), np.float32)
        first, filled = 0, 0
        for folder, cut in zip(self.folders, cuts.tolist(), strict=True):
            if cut > first:
                texts = used[first:cut]
                rows = concatenate_ranges(self.starts[texts], self.sizes[texts])
                mapped = np.memmap(vector_file(folder, seed), np.float32, "r").reshape(-1, width)
                np.take(mapped, rows, axis=0, out=found[filled : filled + len(rows)], mode="clip")
                filled += len(rows)
            first = cut
        begins = np.cumsum(self.sizes[used]) - self.sizes[used]
        return found[concatenate_ranges(begins[inverse], self.sizes[codes])]


def concatenate_ranges(starts: Indices, sizes: Indices) -> Indices:
    """Returns ``start`` to ``start + size - 1`` of each pair, one after the other.

    >>> concatenate_ranges(np.array([7, 2]), np.array([2, 3])).tolist()
    [7, 8, 2, 3, 4]
    """
    ends = np.cumsum(sizes)
    indices: Indices = np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - sizes), sizes)
    return indices
