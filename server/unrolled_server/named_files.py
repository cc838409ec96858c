"""Files that settings give names to: NAME=FILE,NAME2=FILE2, or the same as a JSON object."""

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic_core import PydanticCustomError

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def named_files(given: str | Mapping[str, str | Path]) -> dict[str, Path]:
    """The file of each name; flags that are given again arrive joined by commas.

    Raises:
        PydanticCustomError: An entry is malformed, a name is there twice, or its file cannot be read.
    """
    files: dict[str, Path] = {}
    for name, file in _entries(given):
        if not _NAME.fullmatch(name):
            raise _wrong(f"the name {name!r} is not 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-'")
        if name in files:
            raise _wrong(f"the name {name!r} is there twice; give each file a name of its own")
        files[name] = _readable(_local(file))
    return files


def local_path(given: str) -> Path:
    """Returns the path of a file or folder that a person named, with a leading ~ as the home directory.

    Raises:
        ValueError: It is empty, a URL, or begins with a ~ that stands for no directory.
    """
    if not given.strip():
        raise ValueError("is empty; name a path")
    if _URL.match(given):
        raise ValueError(f"is {given!r}, a URL; give a path of a file system that all nodes mount")
    path = expanded(given)
    if given.startswith("~") and path.parts[0].startswith("~"):
        raise ValueError(f"is {given!r}, and {path.parts[0]} is no home directory here; give the whole path")
    return path


def expanded(path: str | Path) -> Path:
    """The path with a leading ~ as the home directory, or as it is where nobody knows that."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - pathlib's raises where there is no home


def default_cache_directory() -> Path:
    """Where a user's programs keep what can be made again (XDG Base Directory Specification)."""
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The specification has relative paths ignored.
    cache = given if given.is_absolute() else expanded("~/.cache")
    return cache / "unrolled"


def _entries(given: str | Mapping[str, str | Path]) -> Iterable[tuple[str, str | Path]]:
    if isinstance(given, Mapping):
        return list(given.items())
    if given.lstrip().startswith("{"):
        return _json_entries(given)
    entries = [entry.strip() for entry in given.split(",") if entry.strip()]
    return [_parted(entry) for entry in entries]


def _parted(entry: str) -> tuple[str, str]:
    name, equals, file = entry.partition("=")
    if not equals or not file:
        raise _wrong(
            f"{entry!r} is not NAME=FILE, such as glove=glove.6B.300d.txt; FILEs with commas go as JSON"
        )
    return name, file


def _json_entries(given: str) -> list[tuple[str, str]]:
    try:
        pairs: list[tuple[str, str]] = json.loads(given, object_pairs_hook=list)
    except ValueError as error:
        raise _wrong(f"it is neither NAME=FILE nor JSON: {error}") from None
    if not all(isinstance(file, str) for _, file in pairs):
        raise _wrong('as JSON it is {"NAME": "FILE"}')
    return pairs


def _local(file: str | Path) -> Path:
    try:
        return local_path(str(file))
    except ValueError as error:
        raise _wrong(f"a file {error}") from None


def _readable(file: Path) -> Path:
    if file.exists() and not file.is_file():
        raise _wrong(f"{file} is no regular file")  # a pipe can be read once, and its opening may wait
    try:
        with file.open("rb"):
            return file
    except OSError as error:
        raise _wrong(f"{file} cannot be read: {error.strerror}") from None


def _wrong(reason: str) -> PydanticCustomError:
    # A braced reason would be taken for a template.
    return PydanticCustomError("named_files", "{reason}", {"reason": reason})
