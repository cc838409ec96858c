"""Tab-separated log of requests; times are seconds from the start of the measurement."""

from collections.abc import Callable
from typing import IO

import numpy as np

from unrolled_loadtest.generator.events import CODE_NAMES, EVENT, UNANSWERED, UNSENT

COLUMNS = ("due_s", "sent_s", "done_s", "code")
_NAMES = {**CODE_NAMES, UNANSWERED: "UNANSWERED", UNSENT: "UNSENT"}


class RawLog:
    """Writes a line for each request, in the order of completion.

    The `done_s` of an UNANSWERED or UNSENT request is when the run stopped waiting for it. If the file cannot
    be written, the run goes on, and `end` raises the first error.
    """

    def __init__(self, open_file: Callable[[], IO[bytes]]) -> None:
        self._open_file = open_file
        self._file: IO[bytes] | None = None
        self._error: OSError | None = None

    def begin(self) -> None:
        """Opens the file and writes its header."""
        try:
            self._file = self._open_file()
        except OSError as error:
            self._error = error
        self._write("\t".join(COLUMNS) + "\n")

    def add(self, events: bytes) -> None:
        """Writes a line for each event."""
        if events:
            self._write("".join(map(_line, np.frombuffer(events, EVENT)[[*COLUMNS]].tolist())))

    def end(self) -> None:
        """Flushes the file.

        Raises:
            OSError: This or an earlier write failed.
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
