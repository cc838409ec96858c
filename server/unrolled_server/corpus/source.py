"""The input: one Parquet file or a folder of them, as one run of rows that are numbered from 0.

A file of its own because every pass reads it by row numbers, and the manifest keeps what it was. Ray Data's
own reader does not say which row of the corpus a row is, and parts are slices of rows, so rows are read here.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from unrolled_server.corpus.errors import CorpusError
from unrolled_server.exit_codes import EXIT_UNFINISHED

_BATCH_ROWS = 16_384
_TAIL_BYTES = 8  # the footer's length and the letters PAR1


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """One file of the input.

    Attributes:
        name: Below the input.
        digest: Of its footer: schema, places, sizes and statistics of all its pages.
    """

    path: Path
    name: str
    byte_count: int
    row_count: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """All rows of the input, by number."""

    files: tuple[SourceFile, ...]
    column: str
    keep: tuple[str, ...]

    @property
    def row_count(self) -> int:
        """Of all files."""
        return sum(file.row_count for file in self.files)

    def texts(self, start: int, stop: int) -> pa.ChunkedArray:
        """The texts of the rows ``start:stop``, as large strings."""
        found = [batch.column(0) for batch in self._batches(start, stop, [self.column])]
        # One by one, because a file may have them as strings and the next as large ones or a dictionary.
        return pa.chunked_array([texts.cast(pa.large_string()) for texts in found], pa.large_string())

    def kept(self, start: int, stop: int) -> pa.Table:
        """The columns that are copied of the rows ``start:stop``."""
        return pa.Table.from_batches(list(self._batches(start, stop, self.keep)))

    def _batches(self, start: int, stop: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The columns in this order, whatever their order in a file."""
        first = 0
        for file in self.files:
            if first < stop and start < first + file.row_count:
                rows = _rows(file, max(0, start - first), min(file.row_count, stop - first), columns)
                for batch in _told(rows, file):
                    if batch.num_rows:
                        yield batch.select(list(columns)).replace_schema_metadata(None)
            first += file.row_count

    def schema_of(self, columns: Sequence[str]) -> pa.Schema:
        """What these columns are in the first file."""
        schema = pq.read_schema(self.files[0].path)
        return pa.schema([schema.field(name) for name in columns])


def open_source(path: Path, *, column: str, keep: tuple[str, ...]) -> Source:
    """The input, whose files all have the columns.

    Raises:
        CorpusError: It is not there, is no Parquet, has no rows, or a column is missing or of another type.
    """
    paths = _paths(path)
    source = Source(files=tuple(_describe(file, path) for file in paths), column=column, keep=keep)
    first = None
    for file in source.files:
        schema = pq.read_schema(file.path)
        _check_columns(file, schema, column=column, keep=keep)
        kept = pa.schema([schema.field(name).remove_metadata() for name in keep])
        first = first or kept
        if kept != first:
            raise CorpusError(f"{file.name} has the kept columns as {kept}, other files as {first}")
    if not source.row_count:
        raise CorpusError(f"{path} has no rows")
    return source


def _paths(path: Path) -> list[Path]:
    """Files in the order of their names; hidden ones and those of other jobs' marks are not data."""
    if path.is_file():
        return [path]
    found = sorted(
        file
        for file in path.rglob("*.parquet")
        if not any(part.startswith((".", "_")) for part in file.relative_to(path).parts)
    )
    if not found:
        raise CorpusError(f"{path} is neither a Parquet file nor a folder with files named *.parquet")
    return found


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
    name = str(file.relative_to(source)) if file != source else file.name
    return SourceFile(
        path=file.absolute(), name=name, byte_count=byte_count, row_count=meta.num_rows, digest=digest
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
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise CorpusError(
            f"the column {column!r} of {file.name} is of {kind}; name one of strings by --column"
        )


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
