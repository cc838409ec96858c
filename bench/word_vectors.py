"""Measures word vectors of a realistic size: 400,000 words by 300 values, in GloVe's format.

It measures the conversion at the first start, later starts, look-ups, and whether processes share the memory.
The file has random values with five digits, like GloVe's; it and its converted form take 1.5 GB of the
temporary directory.
"""

import itertools
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

import numpy as np
from rich.table import Table
from startup import starting_s
from unrolled_server.word_vectors import VectorTable, open_vectors
from workloads import Workload, dictionary

Result = TypeVar("Result")
WORD_COUNT = 400_000
SIZE = 300
TOKEN_COUNT = 10_000
MIN_STARTS = 3
# Reads every row, prints their sum, waits for a line, and prints the system's memory counters of its
# mappings.
READ_ALL = """
import sys
from pathlib import Path
from unrolled_server.word_vectors import open_vectors
table = open_vectors("glove", Path(sys.argv[1]), cache_directory=Path(sys.argv[2]))
print(table.rows.sum(), flush=True)
sys.stdin.readline()
print(Path("/proc/self/smaps").read_text())
"""


def tables(_workloads: Sequence[Workload], *, budget_s: float) -> Iterator[Table]:
    """Yields three tables. The budget is for the starts, at least three of each kind."""
    with tempfile.TemporaryDirectory() as folder:
        source, cache = Path(folder) / "glove.txt", Path(folder) / "cache"
        words = write_glove(source)
        yield conversion_table(source, cache, words)
        yield start_table(source, cache, budget_s=budget_s)
        if sys.platform == "linux":
            yield memory_table(source, cache)


def write_glove(source: Path) -> list[str]:
    """Writes the file; returns its words: those of a dictionary, then numbered ones."""
    words = [*dictionary()[0], *(f"word{number}" for number in range(WORD_COUNT))][:WORD_COUNT]
    rng = np.random.default_rng(0)
    values = [f"{value:.5g}" for value in rng.normal(0.0, 0.4, 100_003)]
    with source.open("w") as file:
        for word, start in zip(words, rng.integers(0, len(values) - SIZE, WORD_COUNT).tolist(), strict=True):
            file.write(f"{word} {' '.join(values[start : start + SIZE])}\n")
    return words


def conversion_table(source: Path, cache: Path, words: Sequence[str]) -> Table:
    """Measures the conversion, opening the converted file, and look-ups."""
    converting_s, table = timed(lambda: open_vectors("glove", source, cache_directory=cache))
    opening_s, _ = timed(lambda: open_vectors("glove", source, cache_directory=cache))
    (converted,) = cache.glob("*.table")
    rows = {
        "text": f"{source.stat().st_size / 1e6:,.0f} MB",
        "converted": f"{sum(file.stat().st_size for file in converted.iterdir()) / 1e6:,.0f} MB",
        "first opening, which converts": f"{converting_s:.1f} s",
        "opening after that": f"{opening_s * 1e3:.2f} ms",
        **finding_rows(table, words),
    }
    shown = Table("", "", title=f"A vectors file of {table.word_count:,} words by {table.size}")
    for name, figure in rows.items():
        shown.add_row(name, figure)
    return shown


def finding_rows(table: VectorTable, words: Sequence[str]) -> dict[str, str]:
    """Measures look-ups of random tokens, nine of ten in the table."""
    rng = np.random.default_rng(1)
    picks = rng.choice(len(words) * 10 // 9, TOKEN_COUNT, replace=False).tolist()
    distinct = [words[pick] if pick < len(words) else f"unknown{pick}" for pick in picks]
    repeated = distinct[: TOKEN_COUNT // 5] * 5
    return {
        f"{name} found": f"{min(timed(lambda t=tokens: table.find(t))[0] for _ in range(9)) * 1e3:.1f} ms"
        for name, tokens in {
            f"{TOKEN_COUNT:,} distinct tokens": distinct,
            f"{TOKEN_COUNT:,} tokens, a fifth of them distinct": repeated,
        }.items()
    }


def start_table(source: Path, cache: Path, *, budget_s: float) -> Table:
    """Measures starts up to the ready line, with and without the file, in turn."""
    flags = ("--vectors", f"glove={source}", "--vectors-cache", str(cache))
    ways: dict[str, Callable[[], float]] = {
        "ready without vectors": starting_s,
        "ready with vectors, converted before": lambda: starting_s(*flags),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    end_s = time.perf_counter() + budget_s
    for count in itertools.count():
        if count >= MIN_STARTS and time.perf_counter() > end_s:
            break
        for name, way in ways.items():
            seconds[name].append(way())
    shown = Table("", "least, s", "median, s", title=f"Starts, {count} of each, in turn")
    for name, taken in seconds.items():
        shown.add_row(name, f"{min(taken):.2f}", f"{statistics.median(taken):.2f}")
    return shown


def memory_table(source: Path, cache: Path) -> Table:
    """Measures the memory of the converted file in two processes that have read every row."""
    command = [sys.executable, "-c", READ_ALL, str(source), str(cache)]
    with ExitStack() as stack:
        processes = [stack.enter_context(piped(command)) for _ in range(2)]
        for process in processes:
            process.stdout.readline()
        smaps, _ = processes[0].communicate("print\n")  # the other still has its rows
        processes[1].communicate("print\n")
    shown = Table("", "MB", title="The converted file in one of two processes that have read all rows")
    for counter, name in {"Rss": "resident", "Pss": "its share", "Private_Dirty": "its own alone"}.items():
        shown.add_row(name, f"{mapped_bytes(smaps, counter) / 1e6:,.0f}")
    return shown


def piped(command: Sequence[str]) -> subprocess.Popen[str]:
    """Starts a process with pipes to its standard input and output."""
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def mapped_bytes(smaps: str, counter: str) -> int:
    """Returns one counter of the converted file's mapping, in bytes."""
    _, _, mapping = smaps.partition("rows.npy\n")
    found = re.search(rf"^{counter}: +(\d+) kB$", mapping, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def timed(call: Callable[[], Result]) -> tuple[float, Result]:
    """Returns the seconds and the result of the call."""
    began_s = time.perf_counter()
    result = call()
    return time.perf_counter() - began_s, result
