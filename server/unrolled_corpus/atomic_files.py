"""Files and folders that are there whole or not at all, whenever the writer is killed.

A file of its own because resuming rests on it: what has its final name is finished. Temporary names are
unique, so that two attempts at one thing, as Ray makes when it takes a node for dead, do not meet.
"""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

_ENDING = ".unfinished"


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A name to write to; the file gets `path` as its name when the block ends well, and else is gone."""
    unfinished = _unfinished(path)
    try:
        yield unfinished
        _flush(unfinished)
        unfinished.replace(path)
        _flush_folder(path.parent)
    finally:
        unfinished.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A folder to write into, likewise; if somebody else was faster with the same content, theirs stays."""
    unfinished = _unfinished(path)
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        for file in unfinished.iterdir():
            _flush(file)
        try:
            unfinished.rename(path)
        except OSError:
            if not path.is_dir():
                raise
        _flush_folder(path.parent)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def remove_folder(folder: Path) -> None:
    """Removes a folder that may be there; its name is gone at once, so nobody meets a half of it."""
    nameless = folder.with_name(f".{uuid.uuid4().hex}{_ENDING}")
    with contextlib.suppress(FileNotFoundError):
        folder.rename(nameless)
    shutil.rmtree(nameless, ignore_errors=True)


def remove_unfinished(folder: Path) -> None:
    """Removes what killed writers left in a folder; one that still lives can't finish it any more."""
    for path in folder.glob(f".*{_ENDING}"):
        if path.is_dir():
            remove_folder(path)
        else:
            path.unlink(missing_ok=True)


def _unfinished(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}{_ENDING}")


def _flush(path: Path) -> None:
    """Puts the content on the disk before its name, so that a power cut leaves no empty file with a name."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _flush_folder(path: Path) -> None:
    """Puts a new name on the disk, where the file system can be told to."""
    descriptor = os.open(path, os.O_RDONLY)
    with contextlib.suppress(OSError):
        os.fsync(descriptor)
    os.close(descriptor)
