"""Finds the files that INPUT names: a file, a folder of Parquet files, or a pattern.

A file's content decides, because endings differ: .parquet, .parq, .pq, .parquet.gzip or none.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from unrolled_corpus.errors import CorpusError

_SUFFIXES = {".parquet", ".parq", ".pq"}
_MAGICS = {b"PAR1", b"PARE"}
_WILDCARDS = set("*?[")
_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFiles:
    """The files to read, in the order of their paths; names are paths below the folder."""

    folder: Path
    paths: tuple[Path, ...]
    skipped_names: tuple[str, ...] = ()


def find_files(source: Path) -> FoundFiles:
    """Finds the files of INPUT; follows links and ignores hidden files, such as _SUCCESS and .crc.

    Raises:
        CorpusError: There is no Parquet file, a link has no target, or a folder contains a link to itself.
    """
    if source.is_file():
        return FoundFiles(folder=source.parent, paths=(source,))
    folder, pattern = _split_pattern(source)
    files = _walk(source, frozenset()) if source.is_dir() else _match(folder, pattern)
    found = sorted(files)
    paths = tuple(filter(_is_parquet, found))
    if not paths:
        raise CorpusError(
            f"there is no Parquet file at {source}; name one, a folder of them, or a pattern in quotes, such "
            "as 'in/*.parquet'"
        )
    skipped = sorted(set(found) - set(paths))
    return FoundFiles(
        folder=folder, paths=paths, skipped_names=tuple(str(file.relative_to(folder)) for file in skipped)
    )


def would_read(source: Path, file: Path) -> bool:
    """Returns whether INPUT would include a file that need not exist yet."""
    folder, pattern = _split_pattern(source)
    file, folder = file.resolve(), folder.resolve()
    if not file.is_relative_to(folder):
        return False
    name = file.relative_to(folder)
    if "**" in pattern:
        return name.match(Path(pattern).name)
    return source.is_dir() or (len(name.parts) == len(Path(pattern).parts) and name.match(pattern))


def partition_columns(name: Path) -> dict[str, str | None]:
    """Returns the columns that a file's folders name, in the form of Hive, Spark and pyarrow.

    >>> partition_columns(Path("lang=en/day=1%2F2/part-0.parquet"))
    {'lang': 'en', 'day': '1/2'}
    """
    pairs = [part.split("=", 1) for part in name.parts[:-1] if "=" in part]
    return {unquote(key): None if value == _HIVE_NULL else unquote(value) for key, value in pairs}


def _split_pattern(source: Path) -> tuple[Path, str]:
    """Returns the folder before the first wildcard and the pattern below it; "" if it is a path."""
    parts = source.parts
    first = next((at for at, part in enumerate(parts) if _WILDCARDS & set(part)), len(parts))
    if first == len(parts) or source.exists():
        return source, ""
    return Path(*parts[:first]), str(Path(*parts[first:]))


def _match(folder: Path, pattern: str) -> Iterator[Path]:
    for path in folder.glob(pattern) if pattern else ():
        if not path.is_dir() and not any(map(_is_hidden, path.relative_to(folder).parts)):
            _require_target(path)
            yield path


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
        else:
            _require_target(path)
            yield path


def _require_target(path: Path) -> None:
    if not path.exists():
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
