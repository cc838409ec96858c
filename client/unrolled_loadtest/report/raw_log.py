"""A tab-separated log of requests, with times in seconds from the start of the measurement."""

from collections.abc import Callable
from typing import IO

import numpy as np

from unrolled_loadtest.generator.events import CODE_NAMES, EVENT, UNANSWERED, UNSENT

COLUMNS = ("due_s", "sent_s", "done_s", "code")
_NAMES = {**CODE_NAMES, UNANSWERED: "UNANSWERED", UNSENT: "UNSENT"}


class RawLog:
    """Writes a line for each request, in the order in which requests were done.

    For a request that is UNANSWERED or UNSENT `done_s` says until when it waited. A file that takes no more
    does not end the run: the first error is kept for the end.

    Args:
        open_file: Returns the file when the load begins.
    """

    def __init__(self, open_file: Callable[[], IO[bytes]]) -> None:
        self._open_file = open_file
        self._file: IO[bytes] | None = None
        self._error: OSError | None = None

    def begin(self) -> None:
        """Opens the file and writes its head."""
        try:
            self._file = self._open_file()
        except OSError as error:
            self._error = error
        self._write("\t".join(COLUMNS) + "\n")

    def add(self, events: bytes) -> None:
        """Writes events."""
        if events:
            self._write("".join(map(_line, np.frombuffer(events, EVENT)[[*COLUMNS]].tolist())))

    def end(self) -> None:
        """Writes what was held back.

        Raises:
            OSError: That, or something before it, could not be written.
        """
        if self._error is not None:
            raise self._error
        if self._file is not None:
            self._file.flush()

    def _write(self, text: str) -> None:
        if self._error is not None or self._file is None:
            return
        try:
            self._file.write(text.encode())
        except OSError as error:
            self._error = error


def _line(event: tuple[float, float, float, int]) -> str:
    due_s, sent_s, done_s, code = event
    return f"{due_s:.7f}\t{sent_s:.7f}\t{done_s:.7f}\t{_NAMES.get(code, str(code))}\n"
