"""Metrics of several workers: each writes a file every second, and their supervisor sums the files."""

import json
import os
import threading
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.samples import Sample

from unrolled_server.observability.metrics import family_of, merge

DIRECTORY_VARIABLE = "UNROLLED_METRICS_DIRECTORY"
"""The environment variable by which a worker knows the directory; a process that has it opens no endpoint."""
WRITE_INTERVAL_S = 1.0


def write_families(directory: Path, families: Iterable[Metric]) -> None:
    """Replaces the file of this process; raises OSError if the directory is gone or full."""
    path = directory / f"{os.getpid()}.json"
    unfinished = path.with_suffix(".new")
    entries = [
        (family.name, family.documentation, family.type, [sample[:3] for sample in family.samples])
        for family in families
    ]
    unfinished.write_text(json.dumps(entries))
    unfinished.replace(path)


class WorkerFiles:
    """The files of a directory. Counters and histograms of dead workers stay in the sums. Thread-safe."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._of_dead_workers: list[Metric] = []

    def collect(self) -> list[Metric]:
        with self._lock:
            living = [
                family for file in sorted(self._directory.glob("*.json")) for family in self._read(file)
            ]
            return merge([*self._of_dead_workers, *living])

    def _read(self, file: Path) -> list[Metric]:
        """Returns what a live worker wrote; adds up what a dead one wrote, and removes its file."""
        is_alive = _is_alive(int(file.stem))  # asked before reading: a worker may write again before it dies
        families = [
            family_of(name, text, kind, (Sample(*sample) for sample in samples))
            for name, text, kind, samples in json.loads(file.read_text())
        ]
        if is_alive:
            return families
        lasting = [family for family in families if family.type != "gauge"]
        self._of_dead_workers = merge([*self._of_dead_workers, *lasting])
        file.unlink()
        return []


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:  # no such process, or another user's, to whom the number has passed
        return False
    return True
