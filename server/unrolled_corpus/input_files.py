"""Finds the files that INPUT names: itself, or all Parquet files of a folder in the order of their paths.

A file's content decides, because endings differ: .parquet, .parq, .pq, .parquet.gzip or none.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from unrolled_corpus.errors import CorpusError

_SUFFIXES = {".parquet", ".parq", ".pq"}
_MAGICS = {b"PAR1", b"PARE"}
_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFiles:
    """The files to read, in order, and the names below INPUT of those that are not Parquet."""

    paths: tuple[Path, ...]
    skipped_names: tuple[str, ...] = ()


def find_files(path: Path) -> FoundFiles:
    """Finds the files of INPUT; follows links and ignores hidden files, such as _SUCCESS and .crc.

    Raises:
        CorpusError: There is no Parquet file, a link has no target, or a folder contains a link to itself.
        OSError: A folder or file cannot be read.
    """
    if path.is_file():
        return FoundFiles(paths=(path,))
    if not path.exists():
        raise CorpusError(f"there is no file or folder {path}; name a Parquet file or a folder of them")
    found = sorted(_walk(path, frozenset())) if path.is_dir() else []
    paths = tuple(filter(_is_parquet, found))
    if not paths:
        raise CorpusError(f"{path} is neither a Parquet file nor a folder with Parquet files")
    skipped = sorted(set(found) - set(paths))
    return FoundFiles(paths=paths, skipped_names=tuple(str(file.relative_to(path)) for file in skipped))


def partition_columns(name: Path) -> dict[str, str | None]:
    """Returns the columns that a file's folders name, in the form of Hive, Spark and pyarrow.

    >>> partition_columns(Path("lang=en/day=1%2F2/part-0.parquet"))
    {'lang': 'en', 'day': '1/2'}
    """
    pairs = [part.split("=", 1) for part in name.parts[:-1] if "=" in part]
    return {unquote(key): None if value == _HIVE_NULL else unquote(value) for key, value in pairs}


def _walk(folder: Path, parents: frozenset[Path]) -> Iterator[Path]:
    target = folder.resolve()
    if target in parents:
        raise CorpusError(
            f"{folder} is a link to a folder that contains it; remove the link, or name its target"
        )
    for path in folder.iterdir():
        if _is_hidden(path.name):
            continue
        if path.is_dir():
            yield from _walk(path, parents | {target})
        elif path.exists():
            yield path
        else:
            raise CorpusError(f"{path} is a link to a file that does not exist; remove it or add the file")


def _is_hidden(name: str) -> bool:
    """Follows Spark and pyarrow; a folder such as _lang=en names a column."""
    return name.startswith(".") or (name.startswith("_") and "=" not in name)


def _is_parquet(file: Path) -> bool:
    """Returns True also for a Parquet ending with other content, so that reading reports a damaged file."""
    if not file.is_file():
        return False  # opening a pipe would wait
    if _SUFFIXES & set(file.suffixes):
        return True
    with file.open("rb") as opened:
        return opened.read(4) in _MAGICS
