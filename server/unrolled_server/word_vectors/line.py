"""One line of a text file of word vectors: its word and values, or what is wrong with it.

Whole blocks of plain lines take a faster way (see `text`), with the same outcome.
"""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_SEPARATORS = " \t"
_ENDING = _SEPARATORS + "\r\n"
_BLANKS = re.compile(f"[{_SEPARATORS}]+")
_FIELD = re.compile("[^ ]+")
_NO_WORD = "has no word at its start; a line is a word and its values, with blanks or tabs between them"


class LineError(ValueError):
    """What is wrong with a line, and what to do about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineFormat:
    """What the lines of one file are made of: a word, then values; blanks or tabs separate them.

    The values are the last `size` fields and the word is the rest, so it may have white space inside or be
    white space.

    Attributes:
        size: Values of each line.
        has_header: Whether the header tells the size. Only then may a word such as "iphone 6" end in a
            number; otherwise that is a line with a value too many.
    """

    size: int
    has_header: bool

    def split(self, line: str) -> tuple[str, str]:
        """Returns the word, and the values with single blanks between them.

        Raises:
            LineError: There are too few or too many fields, or no word.
        """
        line = line.rstrip(_ENDING)
        plain = line.replace("\t", " ")
        parts = plain.rsplit(" ", self.size)
        word, values = line[: len(parts[0])], parts[1:]
        if "" in values:  # several blanks in a row
            fields = list(_FIELD.finditer(plain))[-self.size :]
            word, values = line[: max(0, fields[0].start() - 1)], [field[0] for field in fields]
        word = word.rstrip(_SEPARATORS) or word
        begins_blank = line[:1] in tuple(_SEPARATORS) and word.strip(_SEPARATORS)
        if not word or begins_blank or len(values) < self.size:
            raise LineError(self._too_few(plain))
        if not self.has_header:
            self._refuse_numbers_in(word)
        return word, " ".join(values)

    def parse(self, raw: bytes) -> tuple[bytes, npt.NDArray[np.float32]]:
        """Returns the word in UTF-8 and its values (size,).

        Raises:
            LineError: The line breaks the format.
        """
        word, values = self.split(decoded(raw))
        numbers = values.split(" ")
        if not _are_numbers(numbers):
            position = next(at for at, number in enumerate(numbers) if not _are_numbers([number]))
            raise LineError(
                f"value {position + 1} is {numbers[position]!r}, which is no finite float32 number"
            )
        return word.encode(), numbers_of([values])[0]

    def _too_few(self, line: str) -> str:
        if line[:1].strip() == "":
            return _NO_WORD
        told = ", as the header says" if self.has_header else ""
        count = len(_FIELD.findall(line)) - 1
        return f"has {count} values after its word; each vector of this file has {self.size}{told}"

    def _refuse_numbers_in(self, word: str) -> None:
        parts = _BLANKS.split(word)[1:]
        if any(_are_numbers([part]) for part in parts):
            raise LineError(
                f"has {len(parts) + self.size} values after its word; each vector of this file has "
                f"{self.size}, as its first line; if words end in numbers, put a header COUNT SIZE first"
            )


def trailing_numbers(line: str) -> int:
    """Returns how many fields at the end are numbers; the first field is not counted.

    >>> trailing_numbers("iphone 6"), trailing_numbers("6")
    (1, 0)
    """
    fields = _BLANKS.split(line)[1:]
    return sum(1 for _ in itertools.takewhile(lambda field: _are_numbers([field]), reversed(fields)))


def numbers_of(lines: Sequence[str]) -> npt.NDArray[np.float32]:
    """Returns the numbers of lines that hold nothing else, (lines, numbers), as `np.float32` reads them.

    Raises:
        ValueError: A field is no number, or lines differ in how many they hold. No line may be empty.
    """
    return np.loadtxt(lines, np.float32, delimiter=" ", comments=None, ndmin=2)


def size_of(raw: bytes) -> int:
    """Returns how many values the first line of a file without a header has after its word.

    Raises:
        LineError: It holds no word with values.
    """
    line = decoded(raw).rstrip(_ENDING)
    if not line:
        raise LineError(_NO_WORD)
    size = trailing_numbers(line)
    if not size:
        raise LineError("is neither a word with values, as in GloVe's format, nor the header COUNT SIZE")
    return size


def decoded(raw: bytes) -> str:
    """Returns the text of a line.

    Raises:
        LineError: It is not UTF-8.
    """
    bad = raw.find(b"\0")
    if bad < 0:
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            bad = error.start
    raise LineError(
        f"byte {bad + 1} is {raw[bad]:#04x}, which is not UTF-8 text; save word2vec's binary format as text "
        "first (gensim: KeyedVectors.load_word2vec_format(FILE, binary=True).save_word2vec_format(TEXT)), or "
        "drop bad bytes with iconv -c -f UTF-8 -t UTF-8"
    )


def _are_numbers(fields: Sequence[str]) -> bool:
    """Whether there are fields, and all of them are finite float32 numbers."""
    # Followed by another, because a carriage return is read over at a line's end and nowhere else.
    line = " ".join([*fields, "0"])
    try:
        return bool(fields) and all(fields) and bool(np.isfinite(numbers_of([line])).all())
    except ValueError:
        return False
