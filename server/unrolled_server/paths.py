"""Paths in settings: NAME=FILE entries, home directories, URLs, and the default cache directory."""

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


class NoHomeError(ValueError):
    """A path in a home directory that is not known; the message names the path and the remedy."""


def parse_named_files(given: str | Mapping[str, str | Path] | Iterable[str]) -> dict[str, Path]:
    """Parses NAME=FILE,NAME2=FILE2, or the same as a JSON object, a mapping or several NAME=FILE.

    Raises:
        ValueError: An entry is malformed, a name occurs twice, or its file cannot be read.
    """
    files: dict[str, Path] = {}
    for name, file in _entries(given):
        check_names([name])
        if name in files:
            raise ValueError(f"the name {name!r} is there twice; give each file a name of its own")
        files[name] = _readable_file(file)
    return files


def check_names(names: Iterable[str]) -> None:
    """Raises ValueError if one of the names cannot be that of a table."""
    for name in names:
        if not _NAME.fullmatch(name):
            raise ValueError(f"the name {name!r} is not 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-'")


def local_path(given: str) -> Path:
    """Returns a path with a leading ~ as the home directory; raises ValueError if it is empty or a URL."""
    if not given.strip():
        raise ValueError("is empty; name a path")
    if is_url(given):
        raise ValueError(f"is {given!r}, a URL; give a path of a file system that all nodes mount")
    return expand_home(given)


def check_path(given: str | os.PathLike[str]) -> str:
    """Returns a path; refuses URLs, and "", which scripts pass for an unset variable.

    As a path, "" would be the working directory.
    """
    path = os.fspath(given)
    if not path:
        raise ValueError("it is empty; give a path, or leave it out")
    if is_url(path):
        raise ValueError("this is a URL; give a path")
    return path


def is_url(given: str) -> bool:
    """Returns whether a text is a URL; as a path it would mean a folder such as `s3:`."""
    return bool(_URL.match(given))


def expand_home(path: str | Path) -> Path:
    """Returns the path with a leading `~` or `~USER` as that home directory.

    Raises:
        NoHomeError: There is no such home directory. Otherwise `~` would be a folder of that name.
    """
    given = os.fspath(path)
    found = os.path.expanduser(given)  # noqa: PTH111 - pathlib takes ./~ for ~
    if given.startswith("~") and found == given:
        raise NoHomeError(
            f"{given} begins with a home directory that is not known; write the whole path, or set HOME"
        )
    return Path(found)


def default_cache_directory() -> Path:
    """Returns the user's cache directory for this program (XDG Base Directory Specification).

    Raises:
        NoHomeError: It would be in a home directory, and this user has none.
    """
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if given.is_absolute():  # the specification says to ignore relative paths
        return given / "unrolled"
    try:
        return expand_home("~/.cache/unrolled")
    except NoHomeError:
        raise NoHomeError(
            "converted word vectors are kept in the home directory, and this user has none; "
            "set XDG_CACHE_HOME or HOME"
        ) from None


def vectors_directory(given: Path | None) -> Path:
    """Returns the directory for converted vectors files, given by the setting vectors_cache or the default.

    Raises:
        NoHomeError: See `default_cache_directory`.
    """
    try:
        return given or default_cache_directory()
    except NoHomeError as error:
        raise NoHomeError(f"{error}, or give vectors_cache") from None


def _entries(given: str | Mapping[str, str | Path] | Iterable[str]) -> Iterable[tuple[str, str | Path]]:
    if isinstance(given, Mapping):
        return list(given.items())
    if not isinstance(given, str):
        return list(map(_split_entry, given))
    if given.lstrip().startswith("{"):
        return _json_entries(given)
    return [_split_entry(entry.strip()) for entry in given.split(",") if entry.strip()]


def _split_entry(entry: str) -> tuple[str, str]:
    name, equals, file = entry.partition("=")
    if not equals or not file:
        raise ValueError(
            f"{entry!r} is not NAME=FILE, such as glove=glove.6B.300d.txt; FILEs with commas go as JSON"
        )
    return name, file


def _json_entries(given: str) -> list[tuple[str, str]]:
    try:
        # Pairs rather than a dict, which would hide a name that occurs twice.
        pairs: list[tuple[str, str]] = json.loads(given, object_pairs_hook=list)
    except ValueError as error:
        raise ValueError(f"it is neither NAME=FILE nor JSON: {error}") from None
    if not all(isinstance(file, str) for _, file in pairs):
        raise ValueError('as JSON it is {"NAME": "FILE"}')
    return pairs


def _readable_file(given: str | Path) -> Path:
    try:
        file = local_path(str(given))
    except ValueError as error:
        raise ValueError(f"a file {error}") from None
    if file.exists() and not file.is_file():
        raise ValueError(f"{file} is no regular file")  # a pipe can be read once, and opening it may block
    try:
        with file.open("rb"):
            return file
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}") from None
