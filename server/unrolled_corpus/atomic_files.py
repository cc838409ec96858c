"""Files and folders that get their final names only when they are complete; resuming relies on this.

Temporary names are unique, because Ray may run a unit twice when it takes a node for dead.
"""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

_SUFFIX = ".unfinished"


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yields a temporary path to write to, and renames it to `path` if the block succeeds."""
    temporary = _temporary_path(path)
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Does the same for a folder; a folder that another process put there first stays."""
    temporary = _temporary_path(path)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        for file in temporary.iterdir():
            _sync(file)
        try:
            temporary.rename(path)
        except OSError:
            if not path.is_dir():
                raise
        _sync_folder(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_folder(folder: Path) -> None:
    """Removes a folder, if it exists; renames it first, so that no process finds half of it."""
    renamed = folder.with_name(f".{uuid.uuid4().hex}{_SUFFIX}")
    with contextlib.suppress(FileNotFoundError):
        folder.rename(renamed)
    shutil.rmtree(renamed, ignore_errors=True)


def remove_unfinished(folder: Path) -> None:
    """Removes the temporary files of killed writers; a writer that still runs then fails."""
    for path in folder.glob(f".*{_SUFFIX}"):
        if path.is_dir():
            remove_folder(path)
        else:
            path.unlink(missing_ok=True)


def _temporary_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}{_SUFFIX}")


def _sync(path: Path) -> None:
    """Flushes content to disk, so that a power cut leaves no empty file under a final name."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    with contextlib.suppress(OSError):  # some file systems can't flush a folder
        os.fsync(descriptor)
    os.close(descriptor)
