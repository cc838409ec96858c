"""The corpus job at a million short texts on two nodes: time, memory, and the same bytes after a kill.

`python bench/corpus.py` prints one table. Texts are one to four words, drawn as often as a real text has them
(see `workloads`), the same ones at every run. Two Ray nodes of one core each run on this machine. Beside the
job stands a loop as people write it: torch.nn.RNN, one-hot letters, batches of 256 padded texts, one thread,
over a sample of the same texts; it computes texts again that it has seen, reads no file and writes no vector.
A vector is a text's for one seed.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from rich.console import Console
from rich.table import Table
from test_modules import import_test_module
from workloads import LETTERS, dictionary

ALPHABET = LETTERS + " "
TORCH_BATCH = 256
SAMPLE_INTERVAL_S = 0.25
PASSES = ("reading texts", "computing vectors", "writing parts")


def main() -> int:
    """Prints the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=1_000_000)
    parser.add_argument("--hidden-size", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=1, help="how many; each is a column")
    parser.add_argument("--sample", type=int, default=50_000, help="texts of the plain loop")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="corpus-") as folder:
        Console().print(measured(Path(folder), options))
    return 0


def measured(folder: Path, options: argparse.Namespace) -> Table:
    """All figures: two jobs, of which one is killed in the middle, then the loop."""
    texts = make_texts(options.texts, seed=0)
    pq.write_table(pa.table({"text": texts}), folder / "corpus.parquet", row_group_size=100_000)
    flags = ("--hidden-size", str(options.hidden_size), "--seeds", f"0-{options.seeds - 1}", "--json")
    with two_nodes() as (address, nodes), Memory(nodes) as memory:
        before_bytes = memory.now_bytes()
        job = (str(folder / "corpus.parquet"), *flags, "--alphabet", ALPHABET, "--address", address)
        summary = json.loads(finish(job, folder / "whole"))
        peak_bytes, largest = memory.peak_bytes, memory.largest_bytes
        kept = kill_in_the_middle(job, folder / "killed", text_count=summary["texts"])
        resumed_s = json.loads(finish(job, folder / "killed"))["seconds"]["all"]
    is_equal = digests(folder / "whole") == digests(folder / "killed")
    title = f"{len(texts):,} texts, hidden {options.hidden_size}, {options.seeds} seeds, two nodes"
    shown = Table("", "", title=f"unrolled-map: {title}")
    asked, computed = f"{summary['asked_rows']:,}", f"{summary['computed_rows']:,}"
    rows = {
        "distinct texts": f"{summary['texts']:,}",
        "symbols of distinct texts / states computed": f"{asked} / {computed}",
        **{name: f"{value:.1f} s" for name, value in summary["seconds"].items()},
        **rates(summary, seed_count=options.seeds, loop=torch_texts_per_s(texts[: options.sample], options)),
        "memory of all processes at most": f"{mb(peak_bytes)}; {mb(before_bytes)} were Ray's before",
        "memory of the largest process": mb(largest),
        "output": mb(sum(file.stat().st_size for file in (folder / "whole").iterdir())),
        f"killed when {kept}; the resumed job took": f"{resumed_s:.1f} s",
        "the same bytes as without the kill": "yes" if is_equal else "NO",
    }
    for name, figure in rows.items():
        shown.add_row(name, figure)
    return shown


def rates(summary: Mapping[str, Any], *, seed_count: int, loop: float) -> dict[str, str]:
    """Vectors a second: of the job, of its passes without Ray's start and verification, of the loop."""
    vectors, seconds = summary["rows"] * seed_count, summary["seconds"]
    whole = vectors / seconds["all"]
    passes = vectors / sum(seconds[name] for name in PASSES)
    return {
        "vectors/s of the job, from start to end": f"{whole:,.0f}",
        "vectors/s of its three passes": f"{passes:,.0f}",
        "vectors/s of a torch loop on one core": f"{loop:,.0f}",
        "job / loop": f"{whole / loop:.2f}",
        "passes / loop": f"{passes / loop:.2f}",
    }


def make_texts(count: int, *, seed: int) -> list[str]:
    """Texts of one to four words, each word as often as a real text has it."""
    words, weights = dictionary()
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 5, count)
    picks = rng.choice(len(words), sizes.sum(), p=weights)
    ends = np.cumsum(sizes).tolist()
    chosen = [words[pick] for pick in picks.tolist()]
    return [" ".join(chosen[end - size : end]) for end, size in zip(ends, sizes.tolist(), strict=True)]


@contextmanager
def two_nodes() -> Iterator[tuple[str, psutil.Process]]:
    """The tests' own cluster: its address, and the process below which its processes are."""
    with import_test_module("support.two_machines").two_machines() as cluster:
        yield cluster.address, psutil.Process(cluster.process.pid)


class Memory:
    """The proportional set size of the cluster's and the command's processes, looked at again and again.

    What several processes map, such as files and Ray's store, is counted once in the sum.
    """

    def __init__(self, nodes: psutil.Process) -> None:
        self._parents = [nodes, psutil.Process()]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.peak_bytes = 0
        self.largest_bytes = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def now_bytes(self) -> int:
        """Returns the resident memory of all processes but this one, in bytes."""
        found = {
            process.pid: process for parent in self._parents for process in parent.children(recursive=True)
        }
        sizes = [pss_bytes(process) for process in (self._parents[0], *found.values())]
        self.largest_bytes = max(self.largest_bytes, *sizes)
        return sum(sizes)

    def _watch(self) -> None:
        while not self._stop.wait(SAMPLE_INTERVAL_S):
            self.peak_bytes = max(self.peak_bytes, self.now_bytes())


def pss_bytes(process: psutil.Process) -> int:
    """Returns the resident memory of one process, in bytes; 0 if it has ended."""
    try:
        return process.memory_full_info().pss
    except psutil.Error:
        return 0


def job_command(arguments: Sequence[str], output: Path) -> list[str]:
    """The command as it is typed."""
    source, *flags = arguments
    return [sys.executable, "-m", "unrolled_corpus", source, str(output), *flags]


def finish(arguments: Sequence[str], output: Path) -> str:
    """Runs the job to its end; returns its last line."""
    run = subprocess.run(job_command(arguments, output), check=True, stdout=subprocess.PIPE, text=True)
    return run.stdout.splitlines()[-1]


def kill_in_the_middle(arguments: Sequence[str], output: Path, *, text_count: int) -> str:
    """Kills the job when half of the vectors exist; returns what existed."""
    with subprocess.Popen(job_command(arguments, output)) as job:
        while job.poll() is None:
            ranges = list(output.glob("_work/ranges/0*"))
            if len(ranges) * 2 * 32_768 > text_count or list(output.glob("part-*")):
                break
            time.sleep(0.02)
        job.kill()
    return f"{len(ranges)} ranges of texts were computed"


def digests(folder: Path) -> dict[str, str]:
    """Returns the digest of each file."""
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}


def torch_texts_per_s(texts: Sequence[str], options: argparse.Namespace) -> float:
    """The plain loop: the last states of padded batches, in the order of the texts."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    module = torch.nn.RNN(len(ALPHABET), options.hidden_size, batch_first=True)
    code_of = np.zeros(128, np.int64)
    code_of[[ord(letter) for letter in ALPHABET]] = np.arange(len(ALPHABET))
    eye = torch.cat([torch.eye(len(ALPHABET)), torch.zeros(1, len(ALPHABET))])
    began_s = time.perf_counter()
    with torch.inference_mode():
        for start in range(0, len(texts), TORCH_BATCH):
            batch = texts[start : start + TORCH_BATCH]
            lengths = np.array(list(map(len, batch)))
            codes = np.full((len(batch), lengths.max()), len(ALPHABET))
            letters = np.frombuffer("".join(batch).encode(), np.uint8)
            codes[np.arange(codes.shape[1]) < lengths[:, None]] = code_of[letters]
            states, _ = module(eye[torch.from_numpy(codes)])
            states[torch.arange(len(batch)), torch.from_numpy(lengths) - 1].numpy()
    return len(texts) / (time.perf_counter() - began_s)


def mb(count: float) -> str:
    """Bytes as megabytes."""
    return f"{count / 1e6:,.0f} MB"


if __name__ == "__main__":
    sys.exit(main())
