"""The three passes of a corpus job in this process, without Ray."""

import functools
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from unrolled_corpus.encode import make_encoder
from unrolled_corpus.parquet_input import open_source
from unrolled_corpus.parquet_output import Parts
from unrolled_corpus.partition import Ranges, make_plan
from unrolled_corpus.scan import Scan
from unrolled_corpus.workspace import Work
from unrolled_server.engine import Engine

from tests.integration.corpus.corpora import parameters, write_corpus


@dataclass(frozen=True)
class Passes:
    """What the three passes made of a corpus, one unit after the other."""

    output: Path
    plan: object
    ranges: list

    @property
    def table(self):
        return pq.read_table(self.output)


def run_in(folder, corpus, *, range_texts=10, keep=(), **changed):
    """Runs the passes over texts or a file, with changed parameters."""
    if isinstance(corpus, list | pa.Array):
        corpus = write_corpus(folder / "corpus.parquet", corpus)
    given = parameters(**changed)
    source, work = open_source(corpus, column="text", keep=keep), Work(folder / "out")
    work.prepare()
    scan = Scan(source=source, parameters=given, work=work)
    slices = [scan(number) for number in range(-(-source.row_count // given.part_rows))]
    plan = make_plan(slices, alphabet=given.alphabet, range_texts=range_texts)
    ranges = Ranges(parameters=given, plan=plan, work=work, slice_count=len(slices))
    encoder = make_encoder(ranges, fingerprint=fingerprint(), state_memory_bytes=64 << 20)
    records = [encoder(number) for number in range(plan.range_count)]
    parts = Parts(source=source, parameters=given, work=work, range_count=plan.range_count)
    for number in range(len(slices)):
        parts(number)
    return Passes(work.output, plan, records)


@functools.cache
def fingerprint():
    engine = Engine(device="cpu")
    engine.prove()
    return engine.fingerprint
