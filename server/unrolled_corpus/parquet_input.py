"""The input: one Parquet file or several, read as one sequence of rows that are numbered from 0.

Ray Data's reader does not report a row's number in the corpus, and the parts are slices of rows.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from unrolled_server.exit_codes import EXIT_UNFINISHED

from unrolled_corpus.errors import CorpusError
from unrolled_corpus.input_files import find_files, partition_columns

_BATCH_ROWS = 16_384
_TAIL_BYTES = 8  # the footer's length and the letters PAR1
# Bytes are texts without the logical type, as Impala, Hive and old versions of Spark write them.
_TEXT_TYPES = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_binary_view,
    pa.types.is_null,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFile:
    """One file of the input.

    Attributes:
        digest: Of the footer, which has the schema and the offsets, sizes and statistics of all pages.
        partitions: The columns that the folders name and the file lacks, with their value.
    """

    path: Path
    name: str
    byte_count: int
    row_count: int
    digest: str
    partitions: Mapping[str, str | None]

    @property
    def schema(self) -> pa.Schema:
        """The file's columns, then those that its folders name; each use reads the file."""
        schema = pq.read_schema(self.path)
        for name in self.partitions:
            schema = schema.append(pa.field(name, pa.string()))
        return schema


@dataclass(frozen=True, slots=True, kw_only=True)
class ParquetInput:
    """All rows of the input, by number: the column of texts and the columns to copy."""

    files: tuple[InputFile, ...]
    column: str
    keep: tuple[str, ...]
    skipped_names: tuple[str, ...] = ()

    @property
    def row_count(self) -> int:
        return sum(file.row_count for file in self.files)

    @property
    def kept_schema(self) -> pa.Schema:
        """The schema of the copied columns in the first file."""
        schema = self.files[0].schema
        return pa.schema([schema.field(name) for name in self.keep])

    def read_texts(self, start: int, stop: int) -> pa.ChunkedArray:
        """Reads the texts of the rows ``start:stop`` as large strings, whose UTF-8 is not checked."""
        columns = [batch.column(0) for batch in self._batches(start, stop, [self.column])]
        # One by one, because one file may have strings and the next bytes or a dictionary.
        texts = [column.cast(pa.large_string(), safe=False) for column in columns]
        return pa.chunked_array(texts, pa.large_string())

    def read_kept(self, start: int, stop: int) -> pa.Table:
        """Reads the copied columns of the rows ``start:stop``."""
        return pa.Table.from_batches(list(self._batches(start, stop, self.keep)))

    def _batches(self, start: int, stop: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yields the columns in this order, whatever their order in a file."""
        first = 0
        for file in self.files:
            if first < stop and start < first + file.row_count:
                yield from _read_rows(file, max(0, start - first), min(file.row_count, stop - first), columns)
            first += file.row_count


def open_input(source: Path, *, column: str, keep: tuple[str, ...]) -> ParquetInput:
    """Opens the input and checks that it has rows and that all its files have the columns."""
    found = find_files(source)
    files = tuple(_open_file(path, found.folder) for path in found.paths)
    first_kept = None
    for file in files:
        schema = file.schema
        _check_columns(file, schema, column=column, keep=keep)
        kept = pa.schema([schema.field(name).remove_metadata() for name in keep])
        first_kept = first_kept or kept
        if kept != first_kept:
            raise CorpusError(f"{file.name} has the kept columns as {kept}, other files as {first_kept}")
    opened = ParquetInput(files=files, column=column, keep=keep, skipped_names=found.skipped_names)
    if not opened.row_count:
        raise CorpusError(f"{source} has no rows")
    return opened


def _open_file(path: Path, folder: Path) -> InputFile:
    try:
        metadata = pq.read_metadata(path)
        with path.open("rb") as opened:
            byte_count = opened.seek(-_TAIL_BYTES, 2) + _TAIL_BYTES
            footer_bytes = int.from_bytes(opened.read(4), "little")
            opened.seek(byte_count - _TAIL_BYTES - footer_bytes)
            digest = hashlib.sha256(opened.read(footer_bytes)).hexdigest()[:32]
    except (OSError, pa.ArrowException) as error:
        raise CorpusError(
            f"{path} cannot be read as Parquet: {error}; replace or remove it, or select the other files by "
            f"a pattern in quotes, such as '{folder / '*.parquet'}'"
        ) from None
    name = path.relative_to(folder)
    stored = metadata.schema.to_arrow_schema().names
    return InputFile(
        path=path.absolute(),
        name=str(name),
        byte_count=byte_count,
        row_count=metadata.num_rows,
        digest=digest,
        partitions={key: value for key, value in partition_columns(name).items() if key not in stored},
    )


def _check_columns(file: InputFile, schema: pa.Schema, *, column: str, keep: Sequence[str]) -> None:
    for name in (column, *keep):
        if schema.names.count(name) != 1:
            option = "--column" if name == column else "--keep"
            raise CorpusError(
                f"{file.name} has no column {name!r}, or several; it has {', '.join(schema.names)}; name "
                f"one by {option}"
            )
    kind = schema.field(column).type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not any(is_text(kind) for is_text in _TEXT_TYPES):
        raise CorpusError(
            f"the column {column!r} of {file.name} is of {kind}; cast it to strings, or name a column of "
            "strings by --column"
        )


def _read_rows(file: InputFile, start: int, stop: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yields rows of one file, with the columns that its folders name; adds its path to pyarrow's errors."""
    stored = [name for name in columns if name not in file.partitions]
    try:
        for batch in _stored_rows(file, start, stop, stored):
            if batch.num_rows:
                yield _with_partitions(batch, file, columns)
    except (OSError, pa.ArrowException) as error:
        reason = str(error).strip().partition("\n")[0]
        raise CorpusError(
            f"{file.path} cannot be read: {reason}; put the file back that was there, or start a new OUTPUT",
            exit_code=EXIT_UNFINISHED,
        ) from None


def _stored_rows(file: InputFile, start: int, stop: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Reads page by page, because one row group may be the whole file."""
    with pq.ParquetFile(file.path, pre_buffer=False, buffer_size=1 << 20) as opened:
        groups, first = _row_groups(opened.metadata, start, stop)
        batches = opened.iter_batches(_BATCH_ROWS, row_groups=groups, columns=columns, use_threads=False)
        for batch in batches:
            if first >= stop:
                return
            begin = max(0, start - first)
            yield batch.slice(begin, max(0, min(stop - first, len(batch)) - begin))
            first += len(batch)


def _row_groups(metadata: pq.FileMetaData, start: int, stop: int) -> tuple[list[int], int]:
    """Returns the row groups with rows of ``start:stop`` and the number of their first row."""
    groups: list[int] = []
    first_row, begin = 0, 0
    for number in range(metadata.num_row_groups):
        end = begin + metadata.row_group(number).num_rows
        if begin < stop and start < end:
            first_row = first_row if groups else begin
            groups.append(number)
        begin = end
    return groups, first_row


def _with_partitions(batch: pa.RecordBatch, file: InputFile, columns: Sequence[str]) -> pa.RecordBatch:
    for name, value in file.partitions.items():
        if name in columns:
            batch = batch.append_column(name, pa.repeat(pa.scalar(value, pa.string()), batch.num_rows))
    return batch.select(columns)
