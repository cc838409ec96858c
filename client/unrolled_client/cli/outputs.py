"""Files that options name for results: judged and opened before the work, written whole or not at all."""

import contextlib
import os
import re
import shutil
import stat
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import typer

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def path_of(option: str, text: str) -> Path:
    """Returns the path that an option gives, with a ~ that the shell left as it is.

    Raises:
        typer.BadParameter: It is empty, a URL, a folder, or below a home directory that is unknown; or it is
            "-", which other commands read as standard input or output.
    """
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


class OutputFile:
    """A file for a result. If its block ends without one, a file that was there is as it was.

    The result is written beside the file and then takes its place. Logs, devices, pipes, and files in folders
    where none can be created are written in place.

    Args:
        option: Names the file in errors.
        path: The file; links are followed.
        is_log: Whether it is written as the work goes on.

    Attributes:
        is_written: Whether the result is there.

    Raises:
        typer.BadParameter: It cannot be written.
    """

    def __init__(self, option: str, path: Path, *, is_log: bool = False) -> None:
        self.option = option
        self.path = path
        self.is_written = False
        try:
            self._is_new = not path.exists()
            is_file = self._is_new or (path.is_file() and not path.is_relative_to("/dev"))
            self._final = Path(os.path.realpath(path)) if is_file else path
            is_beside = is_file and not is_log and os.access(self._final.parent, os.W_OK)
            self._beside = (
                self._final.with_name(f".unrolled-{os.urandom(4).hex()}.part") if is_beside else None
            )
            self._file = self._open()
        except OSError as error:
            why = error.strerror if path.parent.is_dir() else f"there is no folder {path.parent}"
            raise typer.BadParameter(f"{option} {path} cannot be written: {why}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):
            self._file.close()
        made = self._beside or (self._final if self._is_new else None)
        if made is not None and not self.is_written:
            made.unlink(missing_ok=True)

    def _open(self) -> IO[bytes]:
        if self._beside is not None and not self._is_new:
            self._final.open("r+b").close()  # what may not be written may not be replaced
        # Not by open(), which would empty a file in place.
        return os.fdopen(os.open(self._beside or self._final, os.O_WRONLY | os.O_CREAT, 0o666), "wb")

    def begin(self) -> IO[bytes]:
        """Returns the file, empty, and kept from now on if it is written in place."""
        if stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
            self._file.truncate(0)
        self.is_written = self._beside is None
        return self._file

    def write(self, content: bytes) -> None:
        """Writes the whole result.

        Raises:
            OSError: It cannot be written.
        """
        self.begin().write(content)
        self.finish()

    def finish(self) -> None:
        """Closes the file and gives it its name.

        Raises:
            OSError: It cannot be written.
        """
        self._file.close()
        if self._beside is not None:
            if not self._is_new:
                shutil.copymode(self._final, self._beside)
            self._beside.replace(self._final)
        self.is_written = True
