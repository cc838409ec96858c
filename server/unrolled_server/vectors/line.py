"""One line of a text file of word vectors: its word and values, or what is wrong with it.

The way that tells what is wrong; whole blocks of right lines take a faster one, with the same outcome.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


class LineError(ValueError):
    """What is wrong with a line, and what to do about it."""


def numbers_of(lines: Sequence[str]) -> npt.NDArray[np.float32]:
    """The numbers of lines that hold nothing else, (lines, numbers): as `np.float32(text)` reads each.

    Raises:
        ValueError: A field is no number, or lines differ in how many they hold. No line may be empty.
    """
    return np.loadtxt(lines, np.float32, delimiter=" ", comments=None, ndmin=2)


def parse_line(raw: bytes, *, size: int) -> tuple[bytes, npt.NDArray[np.float32]]:
    """The word in UTF-8 and its values (size,).

    Raises:
        LineError: The line breaks the format.
    """
    fields = _fields_of(raw)
    word, numbers = fields[:-size], fields[-size:]
    if not word or any(_are_numbers([part]) for part in word[1:]):
        raise LineError(f"has {len(fields) - 1} values after its word; each vector of this file has {size}")
    if not _are_numbers(numbers):
        position = next(at for at, number in enumerate(numbers) if not _are_numbers([number]))
        raise LineError(f"value {position + 1} is {numbers[position]!r}, which is no finite float32 number")
    return " ".join(word).encode(), numbers_of([" ".join(numbers)])[0]


def size_of(raw: bytes) -> int:
    """How many values the first line of a file without a header has after its word.

    Raises:
        LineError: It holds no word with values.
    """
    fields = _fields_of(raw)
    if _are_numbers(fields[1:]):
        return len(fields) - 1
    size = 0  # the word may have spaces inside
    while size < len(fields) - 1 and _are_numbers([fields[-size - 1]]):
        size += 1
    if not size:
        raise LineError("is neither a word with values, as in GloVe's format, nor the header COUNT SIZE")
    return size


def _fields_of(raw: bytes) -> list[str]:
    fields = _decoded(raw).rstrip(" \r\n").split(" ")
    if not fields[0]:
        raise LineError("has no word; a line is a word and its values, with single spaces between them")
    return fields


def _decoded(raw: bytes) -> str:
    bad = raw.find(b"\0")
    if bad < 0:
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            bad = error.start
    raise LineError(
        f"byte {bad + 1} is {raw[bad]:#04x}, which is not UTF-8 text; save a binary file as text first, "
        "unpack a compressed one, or drop bad bytes with iconv -c -f UTF-8 -t UTF-8"
    )


def _are_numbers(fields: Sequence[str]) -> bool:
    """Whether there are fields, and all of them are finite float32 numbers."""
    # Followed by another, because a carriage return is read over at a line's end and nowhere else.
    line = " ".join([*fields, "0"])
    try:
        return bool(fields) and all(fields) and bool(np.isfinite(numbers_of([line])).all())
    except ValueError:
        return False
