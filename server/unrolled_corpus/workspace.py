"""Where a job keeps what is finished, and who may work on it.

A file of its own because every pass reads what the one before wrote, by these names alone.

    OUTPUT/_manifest.json           what the job is
    OUTPUT/_work/slices/00000/      first pass: a slice's distinct texts, sorted, and which row has which
    OUTPUT/_work/plan.json          the alphabet, and where the sorted texts of the corpus are cut into ranges
    OUTPUT/_work/ranges/00000/      second pass: the vectors of a range's texts
    OUTPUT/part-00000.parquet       third pass: a slice's rows
    OUTPUT/_SUCCESS                 the job is finished, and how much it was
"""

import contextlib
import fcntl
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unrolled_server.exit_codes import EXIT_UNFINISHED

from unrolled_corpus.atomic_files import remove_folder, remove_unfinished, whole_file
from unrolled_corpus.errors import CorpusError

RECORD = "record.json"


@dataclass(frozen=True, slots=True)
class Work:
    """The places of one job."""

    output: Path

    @property
    def folder(self) -> Path:
        """What is removed at the end."""
        return self.output / "_work"

    @property
    def plan(self) -> Path:
        """Made once all slices are."""
        return self.folder / "plan.json"

    @property
    def mark(self) -> Path:
        """Of a job that is finished."""
        return self.output / "_SUCCESS"

    def slice(self, number: int) -> Path:
        """Of the first pass."""
        return self.folder / "slices" / f"{number:05}"

    def range(self, number: int) -> Path:
        """Of the second pass."""
        return self.folder / "ranges" / f"{number:05}"

    def part(self, number: int) -> Path:
        """Of the third pass."""
        return self.output / f"part-{number:05}.parquet"

    def prepare(self) -> None:
        """Makes the folders, and clears what writers that were killed left."""
        for folder in (self.output, self.slice(0).parent, self.range(0).parent):
            folder.mkdir(parents=True, exist_ok=True)
            remove_unfinished(folder)
        remove_unfinished(self.folder)

    def remove(self) -> None:
        """Removes all but the output."""
        remove_folder(self.folder)
        remove_unfinished(self.output)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Lets nobody else work on it, on this machine, until the block or the process ends.

        Raises:
            CorpusError: Somebody else does.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise CorpusError(
                    f"another unrolled-map works on {self.output}; wait until it has ended",
                    exit_code=EXIT_UNFINISHED,
                ) from None
            yield


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Puts a file there, whole."""
    with whole_file(path) as unfinished:
        unfinished.write_text(json.dumps(content))


def read_json(path: Path) -> dict[str, Any] | None:
    """What the file has; None if there is no such file."""
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return content
