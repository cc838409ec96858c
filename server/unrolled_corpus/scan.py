"""The first pass: a slice of rows to its sorted distinct texts, and the number of each row's among them.

A row whose text is null or has no symbols has the number after the last.

A file of its own because here alone texts are judged; afterwards there are only distinct ones that are known
to be sound.
"""

import contextlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from unrolled_corpus.atomic_files import whole_folder
from unrolled_corpus.errors import CorpusError
from unrolled_corpus.parameters import Parameters
from unrolled_corpus.parquet_input import Source
from unrolled_corpus.text_rules import Symbols, open_table, symbols_of
from unrolled_corpus.workspace import RECORD, Work

TEXTS = "texts.arrow"
CODES = "codes.npy"
_SAMPLE_SIZE = 256
_SAMPLE_LETTERS = 64  # a border between ranges need be no whole text


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """Scans slices; a value that travels to every process."""

    source: Source
    parameters: Parameters
    work: Work
    vectors_digest: str | None = None

    def __call__(self, number: int) -> Mapping[str, Any]:
        """Scans one slice and gives its record.

        Raises:
            CorpusError: A text is too long, no UTF-8, or has a symbol that is not known.
            OSError: A file cannot be read or written.
        """
        start = number * self.parameters.part_rows
        stop = min(start + self.parameters.part_rows, self.source.row_count)
        symbols = symbols_of(self.parameters, open_table(self.parameters, digest=self.vectors_digest))
        found = _read(self.source.texts(start, stop), symbols, first_row=start)
        _judge(found, symbols, first_row=start, max_length=self.parameters.max_word_length)
        order = pc.sort_indices(found.texts).to_numpy()
        empty_rows = np.flatnonzero(found.codes == len(order))
        record = {
            "rows": stop - start,
            "empty_rows": len(empty_rows),
            "first_empty_row": start + int(empty_rows[0]) if len(empty_rows) else None,
            "texts": len(order),
            "letters": _letters(found.distinct) if self.parameters.vectors is None else "",
            **_sample(found.texts, order),
        }
        ranks = np.full(len(order) + 1, len(order), np.int32)  # the last is for rows without a text
        ranks[order] = np.arange(len(order), dtype=np.int32)
        with whole_folder(self.work.slice(number)) as folder:
            sorted_texts = pa.record_batch([found.texts.take(pa.array(order))], names=["text"])
            with (
                pa.OSFile(str(folder / TEXTS), "wb") as file,
                pa.ipc.new_file(file, sorted_texts.schema) as out,
            ):
                out.write_batch(sorted_texts)
            np.save(folder / CODES, ranks[found.codes])
            (folder / RECORD).write_text(json.dumps(record))
        return record


@dataclass(frozen=True, slots=True, kw_only=True)
class _Texts:
    """The texts of some rows.

    Attributes:
        texts: Distinct ones by first appearance; each has symbols.
        distinct: The same as a list.
        codes: (rows,) the number of each row's text among those; their count where it is null or empty.
        lengths: The symbols of each text.
    """

    texts: pa.LargeStringArray
    distinct: Sequence[str]
    codes: npt.NDArray[np.int32]
    lengths: Sequence[int]


def _read(texts: pa.ChunkedArray, symbols: Symbols, *, first_row: int) -> _Texts:
    coded = texts.combine_chunks().dictionary_encode()
    codes = coded.indices.fill_null(len(coded.dictionary)).to_numpy()
    distinct = _decoded(coded.dictionary, codes, first_row=first_row)
    lengths = symbols.lengths(distinct)
    if all(lengths):
        return _Texts(texts=coded.dictionary, distinct=distinct, codes=codes, lengths=lengths)
    is_text = np.array([*lengths, 0]) > 0
    numbers = np.where(is_text, np.cumsum(is_text) - 1, is_text.sum()).astype(np.int32)
    return _Texts(
        texts=coded.dictionary.filter(pa.array(is_text[:-1])),
        distinct=list(itertools.compress(distinct, lengths)),
        codes=numbers[codes],
        lengths=list(filter(None, lengths)),
    )


def _decoded(texts: pa.LargeStringArray, codes: npt.NDArray[np.int32], *, first_row: int) -> list[str]:
    number = 0
    try:
        decoded: list[str] = texts.to_pylist()
    except UnicodeDecodeError:
        with contextlib.suppress(UnicodeDecodeError):
            for number in range(len(texts)):
                texts[number].as_py()
        row = first_row + int(np.flatnonzero(codes == number)[0])
        raise CorpusError(
            f"row {row:,} (counted from 0) is not valid UTF-8; write the column as UTF-8"
        ) from None
    return decoded


def _judge(found: _Texts, symbols: Symbols, *, first_row: int, max_length: int) -> None:
    """Refuses the first text that is wrong by its first row; texts stand by first appearance."""
    if max(found.lengths, default=0) <= max_length and symbols.are_known(found.distinct):
        return
    for number, (text, length) in enumerate(zip(found.distinct, found.lengths, strict=True)):
        fault = _fault(text, length, symbols, max_length=max_length)
        if fault:
            row = first_row + int(np.flatnonzero(found.codes == number)[0])
            raise CorpusError(f"row {row:,} (counted from 0) {fault}")


def _fault(text: str, length: int, symbols: Symbols, *, max_length: int) -> str | None:
    if length > max_length:
        return f"has {length:,} symbols; --max-word-length is {max_length:,}; shorten it or raise that"
    return symbols.fault(text)


def _letters(distinct: Sequence[str]) -> str:
    """The distinct letters by first appearance in the order of the rows."""
    return "".join(dict.fromkeys("".join(distinct)))


def _sample(texts: pa.LargeStringArray, order: np.ndarray) -> dict[str, Any]:
    """Every so many of the sorted texts, each of which stands for ``weight`` of them."""
    weight = max(1, -(-len(order) // _SAMPLE_SIZE))
    taken = texts.take(pa.array(order[weight // 2 :: weight])).to_pylist()
    return {"weight": weight, "sample": [text[:_SAMPLE_LETTERS] for text in taken]}
