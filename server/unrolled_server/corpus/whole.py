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
    "otherwise."
    unfinished = _unfinished(path)
    try:
        yield unfinished
        _flush(unfinished)
        unfinished.replace(path)
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
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def remove_unfinished(folder: Path) -> None:
    """Removes what writers that were killed left in a folder."""
    for path in folder.glob(f".*{_ENDING}"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _unfinished(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}{_ENDING}")


def _flush(path: Path) -> None:
    """Puts the content on the disk before its name, so that a power cut leaves no empty file with a name."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
