"""Words and their vectors as the rows of a matrix: in memory, or a .npy file with a list of words."""

import codecs
import contextlib
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import numpy.typing as npt

from unrolled_server.word_vectors.blocks import (
    BLOCK_BYTES,
    Block,
    VectorsError,
    first_not_finite,
    invalid_byte,
)

_FLOAT32_BYTES = 4
_DIMENSIONS = 2


class MatrixError(ValueError):
    """What is wrong with words or their matrix, and the remedy."""


class MatrixVectors:
    """Words, in UTF-8, and the matrix with their vectors as rows, read in blocks.

    Raises:
        MatrixError: The two do not match, or while `blocks` runs, a value is no finite float32 number.
    """

    def __init__(self, words: Iterable[bytes], matrix: npt.NDArray[Any]) -> None:
        if matrix.ndim != _DIMENSIONS or matrix.dtype.kind not in "fiu" or 0 in matrix.shape:
            raise MatrixError(
                f"the matrix has shape {matrix.shape} and dtype {matrix.dtype}; give real numbers, with one "
                "row for each word"
            )
        self.size = matrix.shape[1]
        self._words = list(words)
        self._matrix = matrix
        if len(self._words) != len(matrix):
            raise MatrixError(
                f"there are {len(self._words)} words for {len(matrix)} rows; give one word for each row"
            )

    def blocks(self) -> Iterator[Block]:
        count = max(1, BLOCK_BYTES // (self.size * _FLOAT32_BYTES))
        for start in range(0, len(self._words), count):
            given = self._matrix[start : start + count]
            with np.errstate(over="ignore"):
                values = given.astype(np.float32, order="C", copy=False)
            if (bad := first_not_finite(values)) is not None:
                row, column = bad
                raise MatrixError(
                    f"row {start + row} ({self._words[start + row].decode()!r}) has {given[bad]} at position "
                    f"{column}, which is no finite float32 number; correct it, or drop the row"
                )
            yield Block(self._words[start : start + count], values)


def encoded_words(words: Iterable[str]) -> list[bytes]:
    """Returns words in UTF-8; raises TypeError and MatrixError."""
    words = list(words)
    with contextlib.suppress(TypeError, UnicodeEncodeError):
        text = "\n".join(words).encode()  # all at once, in a tenth of the time
        encoded = text.split(b"\n")
        if len(encoded) == len(words) and all(encoded) and b"\0" not in text:
            return encoded
    return [_encoded(word, at=at) for at, word in enumerate(words)]


def _encoded(word: object, *, at: int) -> bytes:
    if not isinstance(word, str):
        raise TypeError(f"word {at} is {word!r:.80}, of type {type(word).__name__}; words are str")
    raw = word.encode("utf-8", "surrogatepass")
    if not raw or b"\n" in raw or invalid_byte(raw) is not None:
        raise MatrixError(
            f"word {at} is {word!r:.80}; a word is not empty and has no line break, NUL or half a surrogate "
            "pair; drop it and its row"
        )
    return raw


def word_list_of(matrix_file: Path) -> Path:
    """Returns the path of the list with the words of a .npy file, one a line."""
    return matrix_file.with_suffix(".txt")


def open_matrix(source: Path) -> MatrixVectors:
    """Maps a .npy file and reads its word list; raises VectorsError and MatrixError."""
    try:
        # numpy.load with mmap_mode does this, too, but takes some damaged files for zip archives or pickles.
        matrix = np.lib.format.open_memmap(source, mode="r")
    except (ValueError, TypeError, SyntaxError, TokenError) as error:
        raise VectorsError(
            f"{source} is not a whole .npy file of numbers: {error}; save it by numpy.save"
        ) from None
    return MatrixVectors(_listed_words(word_list_of(source), matrix), matrix)


def _listed_words(file: Path, matrix: npt.NDArray[Any]) -> Iterator[bytes]:
    """Yields the word of each line; raises VectorsError."""
    try:
        lines = file.open("rb")
    except OSError as error:
        raise VectorsError(f"{file} cannot be read: {error.strerror}") from None
    with lines:
        for number, raw in enumerate(iter(partial(lines.readline, BLOCK_BYTES), b""), 1):
            line = raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw
            word = line.removesuffix(b"\n").removesuffix(b"\r")
            bad = invalid_byte(word)
            if bad is not None:
                reason = f"byte {bad + 1} is {word[bad]:#04x}, which is not UTF-8 text; save it as UTF-8"
            elif not word:
                reason = "is empty; each line has the word of one row"
            elif number == 1 and _count_values(word) == matrix.shape[1]:
                reason = "has a word and its values; give this file itself, or words alone"
            else:
                yield word
                continue
            raise VectorsError(f"{file}, line {number}: {reason}")


def _count_values(line: bytes) -> int:
    """Returns how many values a line has if it is one of a text file of vectors, which may lie beside."""
    try:
        return len([float(field) for field in line.split()[1:]])
    except ValueError:
        return 0
