"""Which files INPUT stands for: itself, or all Parquet files of a folder in the order of their names.

Files are judged by their content, because their endings differ: .parquet, .parq, .pq, .parquet.gzip or none.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from unrolled_corpus.errors import CorpusError

_ENDINGS = {".parquet", ".parq", ".pq"}
_MAGICS = {b"PAR1", b"PARE"}
_NULL = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What lies in INPUT.

    Attributes:
        files: What is read, in order.
        others: Names of files that are no Parquet, below INPUT.
    """

    files: tuple[Path, ...]
    others: tuple[str, ...] = ()


def find_files(path: Path) -> Found:
    """Returns the files of INPUT. Links are followed; hidden files, such as _SUCCESS and .crc, are no data.

    Raises:
        CorpusError: There is no Parquet file, a link leads nowhere, or a folder is linked into itself.
        OSError: A folder or file cannot be read.
    """
    if path.is_file():
        return Found(files=(path,))
    if not path.exists():
        raise CorpusError(f"there is no file or folder {path}; name a Parquet file or a folder of them")
    found = sorted(_walk(path, frozenset())) if path.is_dir() else []
    files = tuple(filter(_is_parquet, found))
    others = tuple(str(file.relative_to(path)) for file in sorted(set(found) - set(files)))
    if not files:
        raise CorpusError(f"{path} is neither a Parquet file nor a folder with Parquet files")
    return Found(files=files, others=others)


def partitions_of(name: Path) -> dict[str, str | None]:
    """Returns the columns that a file's folders name, as Hive, Spark and pyarrow write them.

    >>> partitions_of(Path("lang=en/day=1%2F2/part-0.parquet"))
    {'lang': 'en', 'day': '1/2'}
    """
    pairs = [part.split("=", 1) for part in name.parts[:-1] if "=" in part]
    return {unquote(key): None if value == _NULL else unquote(value) for key, value in pairs}


def _walk(folder: Path, above: frozenset[Path]) -> Iterator[Path]:
    real = folder.resolve()
    if real in above:
        raise CorpusError(
            f"{folder} is a link to a folder that holds it; remove the link, or name its target"
        )
    for path in folder.iterdir():
        if _is_hidden(path.name):
            continue
        if path.is_dir():
            yield from _walk(path, above | {real})
        elif path.exists():
            yield path
        else:
            raise CorpusError(
                f"{path} is a link to a file that is not there; remove it or put the file there"
            )


def _is_hidden(name: str) -> bool:
    """The custom of Spark and pyarrow; a folder such as _lang=en names a column."""
    return name.startswith(".") or (name.startswith("_") and "=" not in name)


def _is_parquet(file: Path) -> bool:
    """A file that has the ending and not the content is taken, so that reading it names it as damaged."""
    if not file.is_file():
        return False  # opening a pipe would wait
    if _ENDINGS & set(file.suffixes):
        return True
    with file.open("rb") as opened:
        return opened.read(4) in _MAGICS
