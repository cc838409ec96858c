"""The input: one Parquet file or a folder of them, as one run of rows that are numbered from 0.

A file of its own because every pass reads it by row numbers, and the manifest keeps what it was. Ray Data's
own reader does not say which row of the corpus a row is, and parts are slices of rows, so rows are read here.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from unrolled_server.exit_codes import EXIT_UNFINISHED

from unrolled_corpus.errors import CorpusError
from unrolled_corpus.input_files import find_files, partitions_of

_BATCH_ROWS = 16_384
_KINDS_OF_TEXT = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_binary_view,
    pa.types.is_null,
)
"""Bytes are texts without the mark, as Impala, Hive and old versions of Spark write them."""
_TAIL_BYTES = 8  # the footer's length and the letters PAR1


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """One file of the input.

    Attributes:
        name: Below the input.
        digest: Of its footer: schema, places, sizes and statistics of all its pages.
        partitions: The columns that its folders name and it does not have, with the value of all its rows.
    """

    path: Path
    name: str
    byte_count: int
    row_count: int
    digest: str
    partitions: Mapping[str, str | None]

    @property
    def schema(self) -> pa.Schema:
        """Its columns, then those that its folders name. Reads the file."""
        schema = pq.read_schema(self.path)
        for name in self.partitions:
            schema = schema.append(pa.field(name, pa.string()))
        return schema


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """All rows of the input, by number.

    Attributes:
        others: Files in the folder that are no Parquet, so they are not read.
    """

    files: tuple[SourceFile, ...]
    column: str
    keep: tuple[str, ...]
    others: tuple[str, ...] = ()

    @property
    def row_count(self) -> int:
        """Of all files."""
        return sum(file.row_count for file in self.files)

    def texts(self, start: int, stop: int) -> pa.ChunkedArray:
        """The texts of the rows ``start:stop``, as large strings, whose UTF-8 is not checked."""
        found = [batch.column(0) for batch in self._batches(start, stop, [self.column])]
        # One by one, because a file may have them as strings and the next as bytes or a dictionary.
        cast = [texts.cast(pa.large_string(), safe=False) for texts in found]
        return pa.chunked_array(cast, pa.large_string())

    def kept(self, start: int, stop: int) -> pa.Table:
        """The columns that are copied of the rows ``start:stop``."""
        return pa.Table.from_batches(list(self._batches(start, stop, self.keep)))

    def _batches(self, start: int, stop: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yields the columns in this order, whatever their order in a file."""
        first = 0
        for file in self.files:
            if first < stop and start < first + file.row_count:
                stored = [name for name in columns if name not in file.partitions]
                rows = _rows(file, max(0, start - first), min(file.row_count, stop - first), stored)
                for batch in _told(rows, file):
                    if batch.num_rows:
                        yield _with_partitions(batch, file, columns)
            first += file.row_count

    def schema_of(self, columns: Sequence[str]) -> pa.Schema:
        """What these columns are in the first file."""
        schema = self.files[0].schema
        return pa.schema([schema.field(name) for name in columns])


def open_source(path: Path, *, column: str, keep: tuple[str, ...]) -> Source:
    """The input, whose files all have the columns.

    Raises:
        CorpusError: It is not there, is no Parquet, has no rows, or a column is missing or of another type.
    """
    found = find_files(path)
    files = tuple(_describe(file, path) for file in found.files)
    source = Source(files=files, column=column, keep=keep, others=found.others)
    first = None
    for file in source.files:
        schema = file.schema
        _check_columns(file, schema, column=column, keep=keep)
        kept = pa.schema([schema.field(name).remove_metadata() for name in keep])
        first = first or kept
        if kept != first:
            raise CorpusError(f"{file.name} has the kept columns as {kept}, other files as {first}")
    if not source.row_count:
        raise CorpusError(f"{path} has no rows")
    return source


def _describe(file: Path, source: Path) -> SourceFile:
    try:
        meta = pq.read_metadata(file)
        with file.open("rb") as opened:
            byte_count = opened.seek(-_TAIL_BYTES, 2) + _TAIL_BYTES
            footer_bytes = int.from_bytes(opened.read(4), "little")
            opened.seek(byte_count - _TAIL_BYTES - footer_bytes)
            digest = hashlib.sha256(opened.read(footer_bytes)).hexdigest()[:32]
    except (OSError, pa.ArrowException) as error:
        raise CorpusError(f"{file} cannot be read as Parquet: {error}") from None
    name = file.relative_to(source) if file != source else Path(file.name)
    stored = meta.schema.to_arrow_schema().names
    return SourceFile(
        path=file.absolute(),
        name=str(name),
        byte_count=byte_count,
        row_count=meta.num_rows,
        digest=digest,
        partitions={key: value for key, value in partitions_of(name).items() if key not in stored},
    )


def _check_columns(file: SourceFile, schema: pa.Schema, *, column: str, keep: Sequence[str]) -> None:
    for name in (column, *keep):
        if schema.names.count(name) != 1:
            option = "--column" if name == column else "--keep"
            raise CorpusError(
                f"{file.name} has no column {name!r}, or several; it has {', '.join(schema.names)}; name "
                f"one by {option}"
            )
    kind = schema.field(column).type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not any(is_of(kind) for is_of in _KINDS_OF_TEXT):
        raise CorpusError(
            f"the column {column!r} of {file.name} is of {kind}; cast it to strings, or name a column of "
            "strings by --column"
        )


def _with_partitions(batch: pa.RecordBatch, file: SourceFile, columns: Sequence[str]) -> pa.RecordBatch:
    """The columns in this order, also those that are the same for all rows of the file."""
    arrays = [
        pa.repeat(pa.scalar(file.partitions[name], pa.string()), batch.num_rows)
        if name in file.partitions
        else batch.column(name)
        for name in columns
    ]
    fields = [
        pa.field(name, pa.string()) if name in file.partitions else batch.schema.field(name)
        for name in columns
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def _told(batches: Iterator[pa.RecordBatch], file: SourceFile) -> Iterator[pa.RecordBatch]:
    """The batches; what is wrong with the input is told as such."""
    try:
        yield from batches
    except (OSError, pa.ArrowException) as error:  # of a damaged file, pyarrow's has no name
        reason = str(error).strip().partition("\n")[0]
        raise CorpusError(
            f"{file.path} cannot be read: {reason}; put the file back that was there, or start a new OUTPUT",
            exit_code=EXIT_UNFINISHED,
        ) from None


def _rows(file: SourceFile, start: int, stop: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Rows of one file, read page by page: a row group may be all of it."""
    with pq.ParquetFile(file.path, pre_buffer=False, buffer_size=1 << 20) as opened:
        groups, first = _groups(opened.metadata, start, stop)
        for batch in opened.iter_batches(
            _BATCH_ROWS, row_groups=groups, columns=list(columns), use_threads=False
        ):
            if first >= stop:
                return
            yield batch.slice(
                max(0, start - first), max(0, min(stop - first, len(batch)) - max(0, start - first))
            )
            first += len(batch)


def _groups(meta: pq.FileMetaData, start: int, stop: int) -> tuple[list[int], int]:
    """The row groups with rows of ``start:stop``, and the first row of the first of them."""
    groups: list[int] = []
    first_row, begin = 0, 0
    for number in range(meta.num_row_groups):
        end = begin + meta.row_group(number).num_rows
        if begin < stop and start < end:
            first_row = first_row if groups else begin
            groups.append(number)
        begin = end
    return groups, first_row
