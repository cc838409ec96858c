"""The third pass: a slice of rows to one file of the output, by looking up what was computed.

A file of its own because it fixes the output's form, and the same input gives the same bytes of it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from unrolled_corpus.atomic_files import whole_file
from unrolled_corpus.parameters import ROW_COLUMN, Parameters
from unrolled_corpus.parquet_input import Source
from unrolled_corpus.scan import CODES
from unrolled_corpus.seeds import column_of
from unrolled_corpus.vector_store import Places, places_of
from unrolled_corpus.workspace import Work

GROUP_BYTES = 32 << 20
"""Of the vectors of a row group, at most, unless one row alone has more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Writes parts; a value that travels to every process."""

    source: Source
    parameters: Parameters
    work: Work
    range_count: int

    def __call__(self, number: int) -> Mapping[str, Any]:
        """Writes one part and gives its record.

        Raises:
            OSError: A file cannot be read or written.
        """
        codes = np.load(self.work.slice(number) / CODES)
        folders = [self.work.range(at) for at in range(self.range_count)]
        places = places_of(folders, number, empty_size=int(self.parameters.is_pooled))
        copied = self._copied(codes, first_row=number * self.parameters.part_rows, text_count=places.ends[-1])
        if self.parameters.on_empty == "skip":
            codes = codes[codes < places.ends[-1]]
        with whole_file(self.work.part(number)) as unfinished:
            self._write(unfinished, codes, places, copied)
        return {"rows": len(codes)}

    def _copied(
        self, codes: npt.NDArray[np.int32], *, first_row: int, text_count: int
    ) -> list[pa.ChunkedArray]:
        """The columns before those of the seeds, without the rows that are left out."""
        kept = self.source.kept(first_row, first_row + len(codes)) if self.source.keep else None
        columns = [] if kept is None else kept.columns
        if self.parameters.on_empty != "skip":
            return columns
        rows = np.flatnonzero(codes < text_count)
        taken = [column.take(pa.array(rows)) for column in columns]
        return [pa.chunked_array([first_row + rows], pa.int64()), *taken]

    def _write(
        self, file: Path, codes: npt.NDArray[np.int32], places: Places, columns: Sequence[pa.ChunkedArray]
    ) -> None:
        row_bytes = 4 * self.parameters.width * len(self.parameters.seeds)
        schema = self.schema
        copied = _leaves(schema)  # states repeat nothing and give nothing to a compressor
        with pq.ParquetWriter(
            file,
            schema,
            compression=dict.fromkeys(copied, "zstd"),
            use_dictionary=copied,
            write_statistics=copied,
        ) as writer:
            for rows in cut_rows(places.sizes[codes], row_bytes=row_bytes):
                copies = [column.slice(rows.start, rows.stop - rows.start) for column in columns]
                vectors = [
                    self._column(codes[rows], places, seed, kind=schema.field(column_of(seed)).type)
                    for seed in self.parameters.seeds
                ]
                writer.write_table(pa.table([*copies, *vectors], schema=schema), row_group_size=len(codes))

    @property
    def schema(self) -> pa.Schema:
        """Returns the output's schema: the kept columns, as in the input, then one for each seed.

        Where rows are left out, the first column has each row's number in the input.
        """
        kind: pa.DataType = pa.list_(pa.field("element", pa.float32(), nullable=False), self.parameters.width)
        if not self.parameters.is_pooled:
            kind = pa.list_(pa.field("element", kind, nullable=False))
        seeds = [pa.field(column_of(seed), kind, nullable=False) for seed in self.parameters.seeds]
        kept = [field.remove_metadata() for field in self.source.schema_of(self.source.keep)]
        numbers = [pa.field(ROW_COLUMN, pa.int64(), nullable=False)] * (self.parameters.on_empty == "skip")
        return pa.schema([*numbers, *kept, *seeds])

    def _column(
        self, codes: npt.NDArray[np.int32], places: Places, seed: int, *, kind: pa.DataType
    ) -> pa.Array:
        vectors = places.gather(codes, seed=seed, width=self.parameters.width).reshape(-1)
        if self.parameters.is_pooled:
            return pa.FixedSizeListArray.from_arrays(pa.array(vectors), type=kind)
        offsets = np.concatenate([[0], np.cumsum(places.sizes[codes])]).astype(np.int32)
        states = pa.FixedSizeListArray.from_arrays(pa.array(vectors), type=kind.value_type)
        return pa.ListArray.from_arrays(pa.array(offsets), states, type=kind)


def cut_rows(sizes: npt.NDArray[np.int64], *, row_bytes: int) -> Iterator[slice]:
    """Consecutive rows whose vectors take up to `GROUP_BYTES`; at least one."""
    ends = np.cumsum(sizes)
    begin = 0
    while begin < len(sizes):
        room = GROUP_BYTES // row_bytes + (ends[begin - 1] if begin else 0)
        stop = max(begin + 1, int(np.searchsorted(ends, room, side="right")))
        yield slice(begin, stop)
        begin = stop


def _leaves(schema: pa.Schema) -> list[str]:
    """The columns that are one column in Parquet, too; nested ones, such as those of the seeds, are not."""
    return [field.name for field in schema if not pa.types.is_nested(field.type)]
