"""Files of keys, certificates and tokens that are read at startup and again when they change."""

import logging
import os
import stat
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar

from unrolled_server.exit_codes import EXIT_CREDENTIALS, StartupError

LOG = logging.getLogger(__name__)

CHECK_INTERVAL_S = 1.0

_Content = TypeVar("_Content")
_Version: TypeAlias = tuple[int, int, int] | None


class CredentialsError(StartupError):
    """A file of credentials cannot be used; the message names setting, file and reason, never the content."""

    exit_code = EXIT_CREDENTIALS


def read_file(path: Path, *, setting: str, is_secret: bool = False) -> bytes:
    """Returns the bytes of a file; logs a warning if every user of this machine may open a secret one.

    A group may: that is how Kubernetes gives secrets to a process that is not root. Raises CredentialsError.
    """
    try:
        with path.open("rb") as file:
            content, mode = file.read(), stat.S_IMODE(os.fstat(file.fileno()).st_mode)
    except OSError as error:
        raise CredentialsError(f"{setting} {path} cannot be read: {error.strerror}") from None
    if is_secret and mode & stat.S_IRWXO:
        advice = "is open to every user of this machine"
        LOG.warning("%s %s %s (mode %04o); make it 0640 or less", setting, path, advice, mode)
    return content


class ReloadingFiles(Generic[_Content]):
    """The parsed content of files, parsed again when they change; a broken new file leaves the old content.

    `content` checks the files at most once a second; there is no thread and no timer.

    Raises:
        CredentialsError: The files cannot be used at the start.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        parse: Callable[[], _Content],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._paths = paths
        self._parse = parse
        self._clock = clock
        self._versions = self._current_versions()  # before parsing, so that later changes are seen
        self._content = parse()
        self._next_check_s = clock() + CHECK_INTERVAL_S

    def content(self) -> _Content:
        """Returns what the files hold, or held before they broke."""
        now_s = self._clock()
        if now_s >= self._next_check_s:
            self._next_check_s = now_s + CHECK_INTERVAL_S
            self._reload_changes()
        return self._content

    def _reload_changes(self) -> None:
        versions = self._current_versions()
        if versions == self._versions:
            return
        self._versions = versions  # also of broken files, so that each is logged once
        try:
            self._content = self._parse()
        except CredentialsError as error:
            LOG.error("%s; what was read before stays in use", error)  # noqa: TRY400 - the traceback says no more
        else:
            LOG.info("read again: %s", ", ".join(map(str, self._paths)))

    def _current_versions(self) -> list[_Version]:
        return [_version(path) for path in self._paths]


def _version(path: Path) -> _Version:
    """Returns what changes with a file's content; None if there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
