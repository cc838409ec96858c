"""The files of a job, and the lock that lets one command at a time work on them.

OUTPUT/_manifest.json           the job's specification
OUTPUT/_work/slices/00000/      first pass: a slice's sorted distinct texts, and the text of each row
OUTPUT/_work/plan.json          the partition: the alphabet and the borders between ranges of texts
OUTPUT/_work/ranges/00000/      second pass: the vectors of a range's texts
OUTPUT/part-00000.parquet       third pass: a slice's rows
OUTPUT/_SUCCESS                 the counts of a finished job
"""

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from unrolled_server.exit_codes import EXIT_UNFINISHED

from unrolled_corpus.atomic_files import atomic_file, remove_folder, remove_unfinished
from unrolled_corpus.errors import CorpusError

RECORD = "record.json"


@dataclass(frozen=True, slots=True)
class Workspace:
    """The paths of one job."""

    output: Path

    @property
    def folder(self) -> Path:
        return self.output / "_work"

    @property
    def partition_file(self) -> Path:
        return self.folder / "plan.json"

    @property
    def success_file(self) -> Path:
        return self.output / "_SUCCESS"

    def slice_folder(self, number: int) -> Path:
        return self.folder / "slices" / f"{number:05}"

    def range_folder(self, number: int) -> Path:
        return self.folder / "ranges" / f"{number:05}"

    def part_file(self, number: int) -> Path:
        return self.output / f"part-{number:05}.parquet"

    def prepare(self) -> None:
        """Makes the folders and removes what killed writers left."""
        for folder in (self.output, self.slice_folder(0).parent, self.range_folder(0).parent):
            folder.mkdir(parents=True, exist_ok=True)
            remove_unfinished(folder)
        remove_unfinished(self.folder)

    def clean_up(self) -> None:
        """Removes everything but the output."""
        remove_folder(self.folder)
        remove_unfinished(self.output)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other commands on this machine off the output until the block or the process ends."""
        self.folder.mkdir(parents=True, exist_ok=True)
        # A soft lock, which filelock takes where flock is missing, would outlive a killed job.
        lock = FileLock(self.folder / "lock", timeout=0, fallback_to_soft=False)
        try:
            acquired = lock.acquire()
        except Timeout:
            raise CorpusError(
                f"another unrolled-map works on {self.output}; wait until it has ended",
                exit_code=EXIT_UNFINISHED,
            ) from None
        with acquired:
            yield


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a JSON file atomically."""
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(content))


def read_json(path: Path) -> dict[str, Any] | None:
    """Returns the content of a JSON file, or None if there is no such file."""
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return content
