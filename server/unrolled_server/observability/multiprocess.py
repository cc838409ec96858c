"""What workers' metrics say, handed to their supervisor in files: one a worker, written anew each second.

A file of its own because it is a small protocol between processes. A worker's numbers outlive it: counters
must not fall when it is replaced, so what a dead worker had counted is kept, and its file removed.
"""

import json
import os
import threading
from pathlib import Path
from typing import Any

from unrolled_server.observability.metrics import BY_NAME, Buckets, Kind, Metric, Reading, Value, merged

DIRECTORY_VARIABLE = "UNROLLED_METRICS_DIRECTORY"
"""Names the directory in a worker's environment; there it serves no metrics itself, but writes them."""
WRITE_EVERY_S = 1.0


def write_reading(directory: Path, reading: Reading) -> None:
    """Writes what this process says, whole or not at all.

    Raises:
        OSError: The directory is gone or full.
    """
    path = directory / f"{os.getpid()}.json"
    unfinished = path.with_suffix(".new")
    unfinished.write_text(json.dumps(_encoded(reading)))
    unfinished.replace(path)


class WorkerReadings:
    """What all workers say together that write to a directory, those that died included. Thread-safe."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._of_the_dead: Reading = {}

    def read(self) -> Reading:
        """What is true now, or was a second ago."""
        with self._lock:
            files = sorted(self._directory.glob("*.json"))
            living = [reading for file in files if (reading := self._taken(file)) is not None]
            return merged([self._of_the_dead, *living])

    def _taken(self, file: Path) -> Reading | None:
        """What a worker says; None if it is dead, and kept then."""
        # First whether it lives, because it may write once more before it dies.
        is_alive = _is_alive(int(file.stem))
        reading = _decoded(json.loads(file.read_text()))
        if is_alive:
            return reading
        lasting = {metric: series for metric, series in reading.items() if metric.kind is not Kind.GAUGE}
        self._of_the_dead = merged([self._of_the_dead, lasting])
        file.unlink()
        return None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _encoded(reading: Reading) -> dict[str, Any]:
    return {
        metric.name: [
            [labels, [value.counts, value.total] if isinstance(value, Buckets) else value]
            for labels, value in series.items()
        ]
        for metric, series in reading.items()
    }


def _decoded(content: dict[str, Any]) -> Reading:
    """Metrics of another version, which this one does not know, are left out."""
    return {
        BY_NAME[name]: {tuple(labels): _value(BY_NAME[name], value) for labels, value in series}
        for name, series in content.items()
        if name in BY_NAME
    }


def _value(metric: Metric, value: Any) -> Value:
    return Buckets(*value) if metric.kind is Kind.HISTOGRAM else float(value)
