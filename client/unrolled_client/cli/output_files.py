"""Files for results: checked and opened before the work, then written whole or not at all."""

import contextlib
import os
import re
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Self

import typer

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def parse_path(option: str, text: str) -> Path:
    """Returns the path that an option gives; expands a ~ that the shell has left."""
    if text in {"", "-"} or text.endswith("/"):
        raise typer.BadParameter(f"{option} is {text!r}; give the path of a file")
    if _URL.match(text):
        raise typer.BadParameter(f"{option} is {text!r}, a URL; give the path of a file on this machine")
    if not text.startswith("~"):
        return Path(text)
    try:
        return Path(text).expanduser()
    except RuntimeError:
        message = f"{option} is {text!r}, but that home directory is unknown; give a path without ~"
        raise typer.BadParameter(message) from None


def refuse_shared_files(paths: Mapping[str, Path], *, inputs: Mapping[str, str | Path]) -> None:
    """Refuses a file that two outputs, or an output and an input, name."""
    options = {_identity(path): option for option, path in inputs.items()}
    for option, path in paths.items():
        if path.is_relative_to("/dev"):
            continue
        other = options.setdefault(_identity(path), option)
        if other != option:
            raise typer.BadParameter(f"{other} and {option} name the same file, {path}; give each its own")


def _identity(path: str | Path) -> object:
    """Returns what two names of one file have in common, whether or not it exists."""
    try:
        found = os.stat(path)  # noqa: PTH116 - takes both types
    except OSError:
        return os.path.realpath(path)
    return found.st_dev, found.st_ino


class OutputFile:
    """A file for a result. An existing file stays as it was if the block ends without a result.

    The result goes to a temporary file beside it, which then replaces it. Logs, which are written while the
    work goes on, devices, pipes, and files in folders that are not writable are written in place.
    """

    def __init__(self, option: str, path: Path, *, is_log: bool = False) -> None:
        self.option = option
        self.path = path
        self.is_written = False
        try:
            self._is_new = not path.exists()
            is_file = self._is_new or (path.is_file() and not path.is_relative_to("/dev"))
            self._final = Path(os.path.realpath(path)) if is_file else path
            is_replaced = is_file and not is_log and os.access(self._final.parent, os.W_OK)
            name = f".unrolled-{os.urandom(4).hex()}.part"
            self._temporary = self._final.with_name(name) if is_replaced else None
            self._file = self._open()
        except OSError as error:
            why = error.strerror if path.parent.is_dir() else f"there is no folder {path.parent}"
            raise typer.BadParameter(f"{option} {path} cannot be written: {why}") from None

    def _open(self) -> IO[bytes]:
        if self._temporary is not None and not self._is_new:
            self._final.open("r+b").close()  # a file that may not be written may not be replaced either
        # Not by open(), which would empty a file in place.
        return os.fdopen(os.open(self._temporary or self._final, os.O_WRONLY | os.O_CREAT, 0o666), "wb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        with contextlib.suppress(OSError):
            self._file.close()
        created = self._temporary or (self._final if self._is_new else None)
        if created is not None and not self.is_written:
            created.unlink(missing_ok=True)

    def begin(self) -> IO[bytes]:
        """Returns the open file, emptied. A file that is written in place is kept from now on."""
        if stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
            self._file.truncate(0)
        self.is_written = self._temporary is None
        return self._file

    def write(self, content: bytes) -> None:
        """Writes the whole result."""
        self.begin().write(content)
        self.finish()

    def finish(self) -> None:
        """Closes the file and gives it its name."""
        self._file.close()
        if self._temporary is not None:
            if not self._is_new:
                shutil.copymode(self._final, self._temporary)
            self._temporary.replace(self._final)
        self.is_written = True
