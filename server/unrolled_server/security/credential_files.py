"""Files of keys, certificates and tokens: read at the start, and again when they change.

A file of its own because certificates and tokens rotate by the same rules: a new file is taken without a
restart, a broken one is told once and the old content stays.
"""

import logging
import os
import stat
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar

from unrolled_server.exit_codes import EXIT_CREDENTIALS, StartupError

LOG = logging.getLogger(__name__)

LOOK_INTERVAL_S = 1.0

_Content = TypeVar("_Content")
_Mark: TypeAlias = tuple[int, int, int] | None


class CredentialsError(StartupError):
    """A file of credentials cannot be used; the message names setting, file and reason, never the content."""

    exit_code = EXIT_CREDENTIALS


def read_file(path: Path, *, setting: str) -> bytes:
    """The bytes of a file that `setting` names.

    Raises:
        CredentialsError: It cannot be read.
    """
    return _read(path, setting=setting)[0]


def read_secret(path: Path, *, setting: str) -> bytes:
    """The bytes of a secret file; tells the log if every user of this machine may read it too.

    A group may: that is how Kubernetes hands secrets to a process that is not root.

    Raises:
        CredentialsError: It cannot be read.
    """
    content, mode = _read(path, setting=setting)
    if mode & stat.S_IRWXO:
        advice = "is open to every user of this machine"
        LOG.warning("%s %s %s (mode %04o); make it 0640 or less", setting, path, advice, mode)
    return content


def _read(path: Path, *, setting: str) -> tuple[bytes, int]:
    try:
        with path.open("rb") as file:
            return file.read(), stat.S_IMODE(os.fstat(file.fileno()).st_mode)
    except OSError as error:
        raise CredentialsError(f"{setting} {path} cannot be read: {error.strerror}") from None


class WatchedFiles(Generic[_Content]):
    """What was read from files, and is read again when they changed.

    Looking is left to whoever asks, at most once a second: there is no thread and no timer.

    Args:
        paths: The files.
        read: Reads them; what it raises at the start is the caller's.
        clock: Seconds; the monotonic clock.

    Raises:
        CredentialsError: The files cannot be used.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        read: Callable[[], _Content],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._paths = paths
        self._read = read
        self._clock = clock
        self._marks = self._look()  # before the reading: a change meanwhile is seen the next time
        self._content = read()
        self._next_look_s = clock() + LOOK_INTERVAL_S

    def content(self) -> _Content:
        """What the files hold, or held before they broke."""
        now_s = self._clock()
        if now_s >= self._next_look_s:
            self._next_look_s = now_s + LOOK_INTERVAL_S
            self._refresh()
        return self._content

    def _refresh(self) -> None:
        marks = self._look()
        if marks == self._marks:
            return
        self._marks = marks  # also of broken files, so that they are told once
        try:
            self._content = self._read()
        except CredentialsError as error:
            LOG.error("%s; what was read before stays in use", error)  # noqa: TRY400 - the traceback says no more
        else:
            LOG.info("read again: %s", ", ".join(map(str, self._paths)))

    def _look(self) -> list[_Mark]:
        return [_mark(path) for path in self._paths]


def _mark(path: Path) -> _Mark:
    """What changes with a file's content; None for no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
