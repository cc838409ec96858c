"""First pass: finds a slice's sorted distinct texts and each row's text, and checks the texts."""

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from unrolled_corpus.atomic_files import atomic_folder
from unrolled_corpus.errors import CorpusError
from unrolled_corpus.manifest import JobSpec
from unrolled_corpus.text_rules import TextRules, open_vector_table
from unrolled_corpus.workspace import RECORD

TEXTS = "texts.arrow"
CODES = "codes.npy"
_SAMPLE_SIZE = 256
_SAMPLE_LETTERS = 64  # a border between ranges can be the beginning of a text


@dataclass(frozen=True, slots=True, kw_only=True)
class _Slice:
    """The distinct texts of a slice that have symbols, by first appearance.

    Attributes:
        codes: (rows,) the index of each row's text; the number of texts where it is null or empty.
        lengths: The symbols of each text.
        letters: All letters by first appearance, those that are cut off included as in the SDK; empty if the
            alphabet is not derived.
    """

    texts: pa.LargeStringArray
    decoded: Sequence[str]
    codes: npt.NDArray[np.int32]
    lengths: Sequence[int]
    letters: str


def scan_slice(spec: JobSpec, number: int) -> Mapping[str, Any]:
    """Scans one slice and returns its record; refuses texts that are too long or not accepted."""
    parameters = spec.parameters
    start = number * parameters.part_rows
    stop = min(start + parameters.part_rows, spec.source.row_count)
    rules = TextRules(parameters, open_vector_table(parameters, digest=spec.vectors_digest))
    found = _encode_rows(spec.source.read_texts(start, stop), rules, first_row=start)
    _check(found, rules, first_row=start)
    order = pc.sort_indices(found.texts).to_numpy()
    empty_rows = np.flatnonzero(found.codes == len(order))
    record = {
        "rows": stop - start,
        "empty_rows": len(empty_rows),
        "first_empty_row": start + int(empty_rows[0]) if len(empty_rows) else None,
        "texts": len(order),
        "letters": found.letters,
        **_sample(found.texts, order),
    }
    ranks = np.full(len(order) + 1, len(order), np.int32)  # the last is for rows without a text
    ranks[order] = np.arange(len(order), dtype=np.int32)
    with atomic_folder(spec.workspace.slice_folder(number)) as folder:
        sorted_texts = pa.record_batch([found.texts.take(pa.array(order))], names=["text"])
        with pa.OSFile(str(folder / TEXTS), "wb") as file, pa.ipc.new_file(file, sorted_texts.schema) as out:
            out.write_batch(sorted_texts)
        np.save(folder / CODES, ranks[found.codes])
        (folder / RECORD).write_text(json.dumps(record))
    return record


def _encode_rows(texts: pa.ChunkedArray, rules: TextRules, *, first_row: int) -> _Slice:
    encoded = texts.combine_chunks().dictionary_encode()
    codes = encoded.indices.fill_null(len(encoded.dictionary)).to_numpy()
    decoded = _decode(encoded.dictionary, codes, first_row=first_row)
    letters = _distinct_letters(decoded) if rules.parameters.derives_alphabet else ""
    prepared = rules.prepare(decoded)
    lengths = rules.lengths(prepared)
    if prepared is not decoded or not all(lengths):
        # Texts may have become equal, or empty.
        left = [text if length else None for text, length in zip(prepared, lengths, strict=True)]
        encoded = pa.array(left, pa.large_string()).dictionary_encode()
        empty = np.int32(len(encoded.dictionary))
        codes = np.append(encoded.indices.fill_null(empty).to_numpy(), empty)[codes]
        decoded = encoded.dictionary.to_pylist()
        lengths = rules.lengths(decoded)
    return _Slice(texts=encoded.dictionary, decoded=decoded, codes=codes, lengths=lengths, letters=letters)


def _decode(texts: pa.LargeStringArray, codes: npt.NDArray[np.int32], *, first_row: int) -> list[str]:
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


def _check(found: _Slice, rules: TextRules, *, first_row: int) -> None:
    """Raises an error for the first row whose text is wrong; texts are in the order of their first rows."""
    max_length = rules.parameters.max_word_length
    if max(found.lengths, default=0) <= max_length and rules.accepts(found.decoded):
        return
    for number, (text, length) in enumerate(zip(found.decoded, found.lengths, strict=True)):
        fault = rules.fault(text)
        if length > max_length:
            fault = (
                f"has {length:,} symbols; --max-word-length is {max_length:,}; shorten it, raise that, or "
                "say --truncate"
            )
        if fault:
            row = first_row + int(np.flatnonzero(found.codes == number)[0])
            raise CorpusError(f"row {row:,} (counted from 0) {fault}, with another OUTPUT")


def _distinct_letters(texts: Sequence[str]) -> str:
    """Returns the letters by first appearance in the order of the rows."""
    return "".join(dict.fromkeys("".join(texts)))


def _sample(texts: pa.LargeStringArray, order: npt.NDArray[np.int64]) -> dict[str, Any]:
    """Returns evenly spaced sorted texts, each of which stands for ``weight`` of them."""
    weight = max(1, -(-len(order) // _SAMPLE_SIZE))
    sample = texts.take(pa.array(order[weight // 2 :: weight])).to_pylist()
    return {"weight": weight, "sample": [text[:_SAMPLE_LETTERS] for text in sample]}
