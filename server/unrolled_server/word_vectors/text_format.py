"""Word vectors as text: GloVe's format, word2vec's text format and fastText's .vec.

A line holds a word and its values, with blanks or tabs between; blanks at the end and Windows' line ends are
read over. A first line of two whole numbers is the header of word2vec and fastText, count and size; without
one the first line's values tell the size. The values are the last fields and the word is the rest: it may
have spaces inside, as a few of GloVe's do, be white space, or, where a header tells the size, end in a number
("iphone 6"). The text is UTF-8.

Everything else is an error with its line, because a word dropped or a value guessed would change states
silently: bad UTF-8, blank lines, a value that is no finite float32 number, too few or too many values, and
another number of lines than the header tells. Zero vectors are vectors. A last line without a line break is
taken, with a warning.
"""

import codecs
import contextlib
import itertools
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from unrolled_server.word_vectors.errors import VectorsError
from unrolled_server.word_vectors.line import LineError, LineFormat, numbers_of, size_of, trailing_numbers

LOG = logging.getLogger(__name__)
# About 1,600 lines of 300 values. Their strings take ten times that; larger blocks were no faster.
BLOCK_BYTES = 4 << 20
_HEADER = re.compile(rb"(\d{1,18})[ \t]+(\d{1,18})\s*")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Block:
    """Consecutive lines: `values` is (len(words), size), and `first_line` counts from 1."""

    words: Sequence[bytes]
    values: npt.NDArray[np.float32]
    first_line: int


class TextVectors:
    """A text file of word vectors, read from its start in blocks; `size` is known before the first.

    Raises:
        VectorsError: The first line, or when blocks are taken any other, breaks the format.
    """

    def __init__(self, file: BinaryIO, *, source: Path) -> None:
        self._file = file
        self._source = source
        first = file.readline(BLOCK_BYTES)
        if len(first) == BLOCK_BYTES and not first.endswith(b"\n"):
            raise self._too_long(1)
        first = first.removeprefix(codecs.BOM_UTF8)
        header = _HEADER.fullmatch(first)
        self._told_count = int(header[1]) if header else None
        self._first_line = 2 if header else 1
        self._chunks = itertools.chain([b"" if header else first], iter(self._read, b""))
        size = int(header[2]) if header else self._size_of(first)
        if self._told_count == 0 or size == 0:
            raise self._error(1, f"the header says {self._told_count} vectors of {size} values; correct it")
        self._format = LineFormat(size=size, has_header=header is not None)

    @property
    def size(self) -> int:
        """Values of each vector."""
        return self._format.size

    def blocks(self) -> Iterator[Block]:
        """The file's vectors in order; once only."""
        last_line = self._first_line - 1
        for first_line, text in self._whole_lines():
            block = self._parse(text, first_line=first_line)
            if first_line == self._first_line:
                self._check_size(block.words)
            last_line += len(block.words)
            self._check_count(last_line, is_last=False)
            yield block
        self._check_count(last_line, is_last=True)

    def _size_of(self, first: bytes) -> int:
        if not first:
            raise self._error(1, "the file is empty; a word and its values are due")
        try:
            return size_of(first)
        except LineError as error:
            raise self._error(1, str(error)) from None

    def _whole_lines(self) -> Iterator[tuple[int, bytes]]:
        """Lines without the last line break, some MiB at a time, with the number of the first."""
        line = self._first_line
        rest = b""
        for chunk in self._chunks:
            lines, line_break, tail = (rest + chunk).rpartition(b"\n")
            if line_break:
                yield line, lines
                line += lines.count(b"\n") + 1
            if len(tail) >= BLOCK_BYTES:
                raise self._too_long(line)
            rest = tail
        if rest:
            LOG.warning(
                "%s, line %d: has no line break; if it was cut off, so is its last value", self._source, line
            )
            yield line, rest

    def _read(self) -> bytes:
        return self._file.read(BLOCK_BYTES)

    def _parse(self, text: bytes, *, first_line: int) -> Block:
        for parse in (_parse_plain, _parse_split):
            with contextlib.suppress(ValueError):
                words, values = parse(text, self._format)
                return Block(words=words, values=values, first_line=first_line)
        words, values = self._parse_each(text.split(b"\n"), first_line=first_line)
        return Block(words=words, values=values, first_line=first_line)

    def _parse_each(
        self, lines: Sequence[bytes], *, first_line: int
    ) -> tuple[list[bytes], npt.NDArray[np.float32]]:
        """What `_parse_split` gives, or the error of the first bad line."""
        words, rows = [], []
        for number, raw in enumerate(lines, first_line):
            try:
                word, row = self._format.parse(raw)
            except LineError as error:
                raise self._error(number, str(error)) from None
            words.append(word)
            rows.append(row)
        return words, np.stack(rows)

    def _check_size(self, words: Sequence[bytes]) -> None:
        """Refuses a header whose size is too small: every word would end in the first of its values."""
        counts = [trailing_numbers(word.decode()) for word in words if b" " in word or b"\t" in word]
        if self._told_count is not None and len(counts) == len(words) and all(counts):
            reason = (
                f"has {self.size + counts[0]} values after its word, and the lines below it have too many as "
                f"well; the header says {self.size}; correct the header"
            )
            raise self._error(self._first_line, reason)

    def _check_count(self, last_line: int, *, is_last: bool) -> None:
        if self._told_count is None:
            return
        count = last_line - 1
        if count > self._told_count:
            reason = f"one vector more than the {self._told_count} that the header says; correct the header"
            raise self._error(self._told_count + 2, reason)
        if is_last and count < self._told_count:
            reason = (
                f"the file ends after {count} of the {self._told_count} vectors that its header says; "
                "it was cut off: fetch it again"
            )
            raise self._error(last_line, reason)

    def _too_long(self, line: int) -> VectorsError:
        return self._error(line, f"is longer than {BLOCK_BYTES} bytes; save a binary file as text first")

    def _error(self, line: int, reason: str) -> VectorsError:
        return VectorsError.at_line(self._source, line, reason)


def _parse_plain(text: bytes, form: LineFormat) -> tuple[list[bytes], npt.NDArray[np.float32]]:
    """Words and values (lines, size) of lines without surprises, all in one go.

    Of seven ways this was the fastest, at 2.7 times the speed of `float` and a list.

    Raises:
        ValueError: Some line is wrong, or has tabs, several blanks in a row or a word with spaces.
    """
    if b"\t" in text:
        raise ValueError
    lines = [line.rstrip(" \r") for line in text.decode().split("\n")]
    parts = [line.partition(" ") for line in lines]
    return _checked(text, [word for word, _, _ in parts], [rest for _, _, rest in parts], size=form.size)


def _parse_split(text: bytes, form: LineFormat) -> tuple[list[bytes], npt.NDArray[np.float32]]:
    """Words and values of lines of all forms, in 1.5 times the time.

    Raises:
        ValueError: Some line is wrong; which one must be found line by line.
    """
    parts = [form.split(line) for line in text.decode().split("\n")]
    return _checked(text, [word for word, _ in parts], [values for _, values in parts], size=form.size)


def _checked(
    text: bytes, words: Sequence[str], values: Sequence[str], *, size: int
) -> tuple[list[bytes], npt.NDArray[np.float32]]:
    if b"\0" in text or not all(words) or not all(values):
        raise ValueError
    rows = numbers_of(values)
    if rows.shape != (len(words), size) or not np.isfinite(rows).all():
        raise ValueError
    return [word.encode() for word in words], rows
