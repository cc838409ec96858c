"""Third pass: writes a slice of rows to one file of the output; equal input gives equal bytes."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from unrolled_corpus.atomic_files import atomic_file
from unrolled_corpus.manifest import JobSpec
from unrolled_corpus.parameters import ROW_COLUMN, Parameters, seed_column
from unrolled_corpus.scan import CODES
from unrolled_corpus.vector_store import SliceVectors

MAX_ROW_GROUP_BYTES = 32 << 20
"""Limit of the vectors of a row group, unless one row exceeds it."""


def write_part(spec: JobSpec, range_count: int, number: int) -> Mapping[str, Any]:
    """Writes one part and returns its record."""
    parameters, workspace = spec.parameters, spec.workspace
    codes = np.load(workspace.slice_folder(number) / CODES)
    folders = [workspace.range_folder(at) for at in range(range_count)]
    vectors = SliceVectors.open(folders, number, empty_size=int(parameters.is_pooled))
    first_row = number * parameters.part_rows
    copied = spec.source.read_kept(first_row, first_row + len(codes)).columns if spec.source.keep else []
    if parameters.on_empty == "skip":
        rows = np.flatnonzero(codes < vectors.text_count)
        row_numbers = pa.chunked_array([first_row + rows], pa.int64())
        copied = [row_numbers, *(column.take(pa.array(rows)) for column in copied)]
        codes = codes[rows]
    with atomic_file(workspace.part_file(number)) as temporary:
        _write(temporary, spec, codes, vectors, copied)
    return {"rows": len(codes)}


def _write(
    file: Path,
    spec: JobSpec,
    codes: npt.NDArray[np.int32],
    vectors: SliceVectors,
    copied: Sequence[pa.ChunkedArray],
) -> None:
    parameters, seeds, schema = spec.parameters, spec.parameters.seed_numbers, _schema(spec)
    # Vectors repeat nothing, so compression, dictionaries and statistics are for the other columns.
    flat = [field.name for field in schema if not pa.types.is_nested(field.type)]
    with pq.ParquetWriter(
        file, schema, compression=dict.fromkeys(flat, "zstd"), use_dictionary=flat, write_statistics=flat
    ) as writer:
        row_bytes = 4 * parameters.width * len(seeds)
        for rows in cut_row_groups(vectors.sizes[codes], row_bytes=row_bytes):
            columns = [column.slice(rows.start, rows.stop - rows.start) for column in copied]
            columns += [_seed_column(codes[rows], vectors, parameters, seed) for seed in seeds]
            writer.write_table(pa.table(columns, schema=schema), row_group_size=len(codes))


def _schema(spec: JobSpec) -> pa.Schema:
    """Returns the output's columns: row numbers if rows are left out, copied columns, one for each seed."""
    numbers = [pa.field(ROW_COLUMN, pa.int64(), nullable=False)] * (spec.parameters.on_empty == "skip")
    kept = [field.remove_metadata() for field in spec.source.kept_schema]
    kind = _vector_type(spec.parameters)
    seeds = [pa.field(seed_column(seed), kind, nullable=False) for seed in spec.parameters.seed_numbers]
    return pa.schema([*numbers, *kept, *seeds])


def _vector_type(parameters: Parameters) -> pa.DataType:
    state: pa.DataType = pa.list_(pa.field("element", pa.float32(), nullable=False), parameters.width)
    return state if parameters.is_pooled else pa.list_(pa.field("element", state, nullable=False))


def _seed_column(
    codes: npt.NDArray[np.int32], vectors: SliceVectors, parameters: Parameters, seed: int
) -> pa.Array:
    kind = _vector_type(parameters)
    values = pa.array(vectors.gather(codes, seed=seed, width=parameters.width).reshape(-1))
    if parameters.is_pooled:
        return pa.FixedSizeListArray.from_arrays(values, type=kind)
    offsets = np.concatenate([[0], np.cumsum(vectors.sizes[codes])]).astype(np.int32)
    states = pa.FixedSizeListArray.from_arrays(values, type=kind.value_type)
    return pa.ListArray.from_arrays(pa.array(offsets), states, type=kind)


def cut_row_groups(sizes: npt.NDArray[np.int64], *, row_bytes: int) -> Iterator[slice]:
    """Yields consecutive rows whose vectors take up to `MAX_ROW_GROUP_BYTES`; at least one."""
    ends = np.cumsum(sizes)
    begin = 0
    while begin < len(sizes):
        limit = MAX_ROW_GROUP_BYTES // row_bytes + (ends[begin - 1] if begin else 0)
        stop = max(begin + 1, int(np.searchsorted(ends, limit, side="right")))
        yield slice(begin, stop)
        begin = stop
