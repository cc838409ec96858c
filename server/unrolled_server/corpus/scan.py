"""The first pass: a slice of rows to its sorted distinct texts, and the number of each row's among them.

A file of its own because here alone texts are judged; afterwards there are only distinct ones that are known
to be sound.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from unrolled_server.corpus.errors import CorpusError
from unrolled_server.corpus.parameters import Parameters
from unrolled_server.corpus.source import Source
from unrolled_server.corpus.symbols import Symbols, open_table, symbols_of
from unrolled_server.corpus.whole import whole_folder
from unrolled_server.corpus.work import RECORD, Work

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
            CorpusError: A text is none, or has a symbol that is not known.
            OSError: A file cannot be read or written.
        """
        start = number * self.parameters.part_rows
        stop = min(start + self.parameters.part_rows, self.source.row_count)
        texts = self.source.texts(start, stop)
        if texts.null_count:
            row = start + pc.index(pc.is_null(texts), value=True).as_py()
            raise CorpusError(
                f"row {row:,} (counted from 0) is null in the column {self.source.column!r}; {_REMEDY}"
            )
        coded = texts.combine_chunks().dictionary_encode()
        symbols = symbols_of(self.parameters, open_table(self.parameters, digest=self.vectors_digest))
        distinct = _judged(coded, symbols, first_row=start, max_length=self.parameters.max_word_length)
        order = pc.sort_indices(coded.dictionary).to_numpy()
        record = {
            "rows": stop - start,
            "texts": len(distinct),
            "letters": _letters(distinct) if self.parameters.vectors is None else "",
            **_sample(coded.dictionary, order),
        }
        ranks = np.empty(len(order), np.int32)
        ranks[order] = np.arange(len(order), dtype=np.int32)
        with whole_folder(self.work.slice(number)) as folder:
            sorted_texts = pa.record_batch([coded.dictionary.take(pa.array(order))], names=["text"])
            with (
                pa.OSFile(str(folder / TEXTS), "wb") as file,
                pa.ipc.new_file(file, sorted_texts.schema) as out,
            ):
                out.write_batch(sorted_texts)
            np.save(folder / CODES, ranks[coded.indices.to_numpy()])
            (folder / RECORD).write_text(json.dumps(record))
        return record


_REMEDY = "give it a text or drop the row"


def _judged(coded: pa.DictionaryArray, symbols: Symbols, *, first_row: int, max_length: int) -> Sequence[str]:
    """The distinct texts by first appearance, so that the first that is wrong is in the first such row."""
    try:
        distinct: list[str] = coded.dictionary.to_pylist()
    except UnicodeDecodeError:
        raise CorpusError(
            f"a text from row {first_row:,} on is not valid UTF-8; write the column as UTF-8"
        ) from None
    lengths = symbols.lengths(distinct)
    if min(lengths) > 0 and max(lengths) <= max_length and symbols.are_known(distinct):
        return distinct
    for number, (text, length) in enumerate(zip(distinct, lengths, strict=True)):
        fault = _fault(text, length, symbols, max_length=max_length)
        if fault:
            row = first_row + pc.index(coded.indices, value=number).as_py()
            raise CorpusError(f"row {row:,} (counted from 0) {fault}")
    return distinct


def _fault(text: str, length: int, symbols: Symbols, *, max_length: int) -> str | None:
    if not length:
        return f"has no symbols: the text is {text!r}; {_REMEDY}"
    if length > max_length:
        return f"has {length:,} symbols; --max-word-length is {max_length:,}; shorten it or raise that"
    return symbols.fault(text)


def _letters(distinct: Sequence[str]) -> str:
    """The distinct letters by first appearance in the order of the rows."""
    return "".join(dict.fromkeys("".join(distinct)))


def _sample(texts: pa.LargeStringArray, order: np.ndarray) -> dict[str, Any]:
    """Every so many of the sorted texts, each of which stands for ``weight`` of them."""
    weight = -(-len(order) // _SAMPLE_SIZE)
    taken = texts.take(pa.array(order[weight // 2 :: weight])).to_pylist()
    return {"weight": weight, "sample": [text[:_SAMPLE_LETTERS] for text in taken]}
