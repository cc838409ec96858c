"""What all formats of word vectors have in common: blocks of rows, words as bytes, and the error."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from unrolled_server.exit_codes import EXIT_VECTORS, StartupError

# About 1,600 lines of 300 values. Their strings take ten times that; larger blocks were no faster.
BLOCK_BYTES = 4 << 20
HEADER = re.compile(rb"(\d{1,18})[ \t]+(\d{1,18})\s*")
"""The first line of word2vec's formats: count and size."""

Rows = npt.NDArray[np.float32]


class VectorsError(StartupError):
    """A table that cannot be opened; the message names the file and the remedy. A retry does not help."""

    exit_code = EXIT_VECTORS


class Block(NamedTuple):
    """Consecutive vectors: their words in UTF-8 and their values, (len(words), size)."""

    words: Sequence[bytes]
    values: Rows


class Vectors(Protocol):
    """The vectors of a source of any format, read once.

    Attributes:
        size: Values of each vector.
    """

    size: int

    def blocks(self) -> Iterator[Block]: ...


def invalid_byte(text: bytes) -> int | None:
    """Returns the index of the first byte that is not UTF-8 text, as NUL isn't either; None if all are."""
    if (nul := text.find(b"\0")) >= 0:
        return nul
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return error.start
    return None


def first_not_finite(values: npt.NDArray[Any]) -> tuple[int, int] | None:
    """Returns row and column of the first value that is infinite or no number; None if all are finite."""
    is_finite = np.isfinite(values)
    if is_finite.all():
        return None
    row, column = divmod(int(is_finite.argmin()), values.shape[1])
    return row, column
