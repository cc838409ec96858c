"""The three passes of a corpus job in this process, without Ray."""

import functools
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from unrolled_corpus.encode import RangeEncoder
from unrolled_corpus.parquet_output import write_part
from unrolled_corpus.partition import make_partition
from unrolled_corpus.scan import scan_slice
from unrolled_server.engine import Engine

from tests.support.corpus.corpora import job_spec, write_corpus


@dataclass(frozen=True)
class Passes:
    """What the three passes made of a corpus, one unit after the other."""

    output: Path
    partition: object
    ranges: list

    @property
    def table(self):
        return pq.read_table(self.output)


def run_in(folder, corpus, *, range_texts=10, keep=(), **changed):
    """Runs the passes over texts or a file, with changed parameters."""
    if isinstance(corpus, list | pa.Array):
        corpus = write_corpus(folder / "corpus.parquet", corpus)
    spec = job_spec(corpus, folder / "out", keep=keep, **changed)
    spec.workspace.prepare()
    slices = [scan_slice(spec, number) for number in range(spec.slice_count)]
    partition = make_partition(slices, alphabet=spec.parameters.alphabet, range_texts=range_texts)
    encoder = RangeEncoder(spec, partition, fingerprint=fingerprint(), state_memory_bytes=64 << 20)
    records = [encoder(number) for number in range(partition.range_count)]
    for number in range(spec.slice_count):
        write_part(spec, partition.range_count, number)
    return Passes(spec.workspace.output, partition, records)


@functools.cache
def fingerprint():
    engine = Engine(device="cpu")
    engine.verify()
    return engine.fingerprint
