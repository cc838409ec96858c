"""Word vectors as text: GloVe's format, word2vec's text format and fastText's .vec, plain or compressed."""

import codecs
import contextlib
import itertools
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from unrolled_server.word_vectors.blocks import (
    BLOCK_BYTES,
    HEADER,
    Block,
    Rows,
    VectorsError,
    invalid_byte,
)

LOG = logging.getLogger(__name__)
_SEPARATORS = " \t"
_ENDING = _SEPARATORS + "\r\n"
_BLANKS = re.compile(f"[{_SEPARATORS}]+")
_FIELD = re.compile("[^ ]+")
_NO_WORD = "has no word at its start; a line is a word and its values, with blanks or tabs between them"

_NOT_TEXT = "a file in word2vec's binary format needs a name with the ending .bin"


class LineError(ValueError):
    """What is wrong with a line, and the remedy."""


class TextVectors:
    """A text file of word vectors, read once, from its start, in blocks.

    A line holds a word and its values, separated by blanks or tabs; blanks at the end and Windows' line ends
    are ignored. The values are the last fields and the word is the rest, so a word may have spaces inside or
    be white space. A first line of two whole numbers is a header, count and size, as word2vec and fastText
    write it; without one the first line determines the size.

    Everything else is an error, because a dropped word or a guessed value would change states silently. A
    last line without a line break is read, with a warning.

    Raises:
        VectorsError: The first line, or while `blocks` runs any other, breaks the format.
    """

    def __init__(self, file: BinaryIO, *, source: Path) -> None:
        self._source = source
        first = file.readline(BLOCK_BYTES)
        if len(first) == BLOCK_BYTES and not first.endswith(b"\n"):
            raise self._too_long(1)
        first = first.removeprefix(codecs.BOM_UTF8)
        header = HEADER.fullmatch(first)
        self._header_count = int(header[1]) if header else None
        self._first_line = 2 if header else 1
        self._chunks = itertools.chain([b"" if header else first], iter(partial(file.read, BLOCK_BYTES), b""))
        self.size = int(header[2]) if header else self._size_of(first)
        if self._header_count == 0 or self.size == 0:
            reason = f"the header says {self._header_count} vectors of {self.size} values; correct it"
            raise self._error(1, reason)
        self._format = LineFormat(size=self.size, has_header=header is not None)

    def blocks(self) -> Iterator[Block]:
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
        """Returns how many values a first line that is no header has after its word."""
        if not first:
            raise self._error(1, "the file is empty; its first line must hold a word and its values")
        try:
            line = _decoded(first).rstrip(_ENDING)
        except LineError as error:
            raise self._error(1, str(error)) from None
        if not line:
            raise self._error(1, _NO_WORD)
        if size := _trailing_numbers(line):
            return size
        reason = "is neither a word with values, as in GloVe's format, nor the header COUNT SIZE"
        raise self._error(1, reason)

    def _whole_lines(self) -> Iterator[tuple[int, bytes]]:
        """Yields some MiB of lines at a time, without the last line break, and the number of the first."""
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

    def _parse(self, text: bytes, *, first_line: int) -> Block:
        for parse in (_parse_plain, _parse_any):
            with contextlib.suppress(ValueError):
                return parse(text, self._format)
        return self._parse_each(text.split(b"\n"), first_line=first_line)

    def _parse_each(self, lines: Sequence[bytes], *, first_line: int) -> Block:
        """Parses line by line, to find the first bad one."""
        words, rows = [], []
        for number, raw in enumerate(lines, first_line):
            try:
                word, row = self._format.parse(raw)
            except LineError as error:
                raise self._error(number, str(error)) from None
            words.append(word)
            rows.append(row)
        return Block(words, np.stack(rows))

    def _check_size(self, words: Sequence[bytes]) -> None:
        """Refuses a header whose size is too small: every word would end in the first of its values."""
        counts = [_trailing_numbers(word.decode()) for word in words if b" " in word or b"\t" in word]
        if self._header_count is not None and len(counts) == len(words) and all(counts):
            reason = (
                f"has {self.size + counts[0]} values after its word, and the lines below it have too many as "
                f"well; the header says {self.size}; correct the header"
            )
            raise self._error(self._first_line, reason)

    def _check_count(self, last_line: int, *, is_last: bool) -> None:
        if self._header_count is None:
            return
        count = last_line - 1
        if count > self._header_count:
            reason = f"one vector more than the {self._header_count} that the header says; correct the header"
            raise self._error(self._header_count + 2, reason)
        if is_last and count < self._header_count:
            reason = (
                f"the file ends after {count} of the {self._header_count} vectors that its header says; "
                "it was cut off: fetch it again"
            )
            raise self._error(last_line, reason)

    def _too_long(self, line: int) -> VectorsError:
        return self._error(line, f"is longer than {BLOCK_BYTES} bytes; {_NOT_TEXT}")

    def _error(self, line: int, reason: str) -> VectorsError:
        return VectorsError(f"{self._source}, line {line}: {reason}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LineFormat:
    """The format of one file's lines: a word, then `size` values.

    Only if a header says the size may a word such as "iphone 6" end in a number; without a header that is a
    line with a value too many.
    """

    size: int
    has_header: bool

    def split(self, line: str) -> tuple[str, str]:
        """Returns the word, and the values with single blanks between them; raises LineError."""
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

    def parse(self, raw: bytes) -> tuple[bytes, Rows]:
        """Returns the word in UTF-8 and its values (size,); raises LineError."""
        word, values = self.split(_decoded(raw))
        numbers = values.split(" ")
        if not _are_numbers(numbers):
            position = next(at for at, number in enumerate(numbers) if not _are_numbers([number]))
            raise LineError(
                f"value {position + 1} is {numbers[position]!r}, which is no finite float32 number"
            )
        return word.encode(), _numbers_of([values])[0]

    def _too_few(self, line: str) -> str:
        if line[:1].strip() == "":
            return _NO_WORD
        source = ", as the header says" if self.has_header else ""
        count = len(_FIELD.findall(line)) - 1
        return f"has {count} values after its word; each vector of this file has {self.size}{source}"

    def _refuse_numbers_in(self, word: str) -> None:
        parts = _BLANKS.split(word)[1:]
        if any(_are_numbers([part]) for part in parts):
            raise LineError(
                f"has {len(parts) + self.size} values after its word; each vector of this file has "
                f"{self.size}, as its first line; if words end in numbers, put a header COUNT SIZE first"
            )


def _parse_plain(text: bytes, form: LineFormat) -> Block:
    """Parses lines without tabs, repeated blanks or words with spaces; raises ValueError for others.

    The fastest of seven ways that were measured, at 2.7 times the speed of `float` and a list.
    """
    if b"\t" in text:
        raise ValueError
    lines = [line.rstrip(" \r") for line in text.decode().split("\n")]
    parts = [line.partition(" ") for line in lines]
    return _checked(text, [word for word, _, _ in parts], [rest for _, _, rest in parts], size=form.size)


def _parse_any(text: bytes, form: LineFormat) -> Block:
    """Parses lines of all forms, in 1.5 times the time; raises ValueError if some line is wrong."""
    parts = [form.split(line) for line in text.decode().split("\n")]
    return _checked(text, [word for word, _ in parts], [values for _, values in parts], size=form.size)


def _checked(text: bytes, words: Sequence[str], values: Sequence[str], *, size: int) -> Block:
    if b"\0" in text or not all(words) or not all(values):
        raise ValueError
    rows = _numbers_of(values)
    if rows.shape != (len(words), size) or not np.isfinite(rows).all():
        raise ValueError
    return Block([word.encode() for word in words], rows)


def _decoded(raw: bytes) -> str:
    """Decodes a line; raises LineError if it is not UTF-8."""
    bad = invalid_byte(raw)
    if bad is None:
        return raw.decode()
    raise LineError(
        f"byte {bad + 1} is {raw[bad]:#04x}, which is not UTF-8 text; {_NOT_TEXT}; in a text, drop bad "
        "bytes with iconv -c -f UTF-8 -t UTF-8"
    )


def _trailing_numbers(line: str) -> int:
    """Returns how many fields at the end are numbers: 1 for "iphone 6". The first field never counts."""
    fields = _BLANKS.split(line)[1:]
    return sum(1 for _ in itertools.takewhile(lambda field: _are_numbers([field]), reversed(fields)))


def _numbers_of(lines: Sequence[str]) -> Rows:
    """Returns the numbers of lines that hold nothing else, (lines, numbers), as `np.float32` reads them.

    Raises ValueError if a field is no number or lines differ in length. No line may be empty.
    """
    return np.loadtxt(lines, np.float32, delimiter=" ", comments=None, ndmin=2)


def _are_numbers(fields: Sequence[str]) -> bool:
    """Returns whether there are fields, and all of them are finite float32 numbers."""
    # Another number follows, because loadtxt ignores a carriage return at a line's end.
    line = " ".join([*fields, "0"])
    try:
        return bool(fields) and all(fields) and bool(np.isfinite(_numbers_of([line])).all())
    except ValueError:
        return False
