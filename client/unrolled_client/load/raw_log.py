"""A line for each request, for those who want to compute for themselves.

A file of its own because it is a format: tab-separated, times in seconds from the measurement's begin.
"""

from pathlib import Path
from types import TracebackType
from typing import IO, Self

import numpy as np

from unrolled_client.load.events import CODE_NAMES, EVENT, UNANSWERED, UNSENT

COLUMNS = ("due_s", "sent_s", "done_s", "code")
_NAMES = {**CODE_NAMES, UNANSWERED: "UNANSWERED", UNSENT: "UNSENT"}


class RawLog:
    """Writes to a file, in the order in which requests were done; nothing if there is no file.

    Of a request that is UNANSWERED or UNSENT `done_s` says until when it waited.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        if self._path is not None:
            self._file = self._path.open("w", encoding="utf-8")
            self._file.write("\t".join(COLUMNS) + "\n")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, events: bytes) -> None:
        """Takes events."""
        if self._file is None:
            return
        for event in np.frombuffer(events, EVENT)[[*COLUMNS]].tolist():
            due_s, sent_s, done_s, code = event
            name = _NAMES.get(code, str(code))
            self._file.write(f"{due_s:.7f}\t{sent_s:.7f}\t{done_s:.7f}\t{name}\n")
