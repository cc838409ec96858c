"""Parameters, texts, files and the engine's own answers, for the tests of the corpus job."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from unrolled_corpus.manifest import JobSpec
from unrolled_corpus.parameters import Parameters
from unrolled_corpus.parquet_input import open_input
from unrolled_corpus.workspace import Workspace
from unrolled_server.engine import Alphabet, Engine, Job, Output

ALPHABET = "abcdeé "
DEFAULTS = {"hidden_size": 8, "alphabet": ALPHABET, "max_word_length": 64, "part_rows": 7}


def parameters(*, seeds=(0,), **changed):
    return Parameters(**DEFAULTS | changed, seeds=",".join(map(str, seeds)))


def job_spec(path, folder, *, keep=(), **changed):
    source = open_input(path, column="text", keep=keep)
    return JobSpec(parameters=parameters(**changed), source=source, workspace=Workspace(folder))


def random_texts(count, *, seed=0):
    """Short texts, of which many are equal."""
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list(ALPHABET), rng.integers(1, 6))) for _ in range(count)]


def write_corpus(path, texts, **columns):
    table = pa.table({"text": texts, **columns})
    pq.write_table(table, path, row_group_size=max(1, len(texts) // 3))
    return path


def vectors_of(table, seed):
    """The values of a seed's column, one row a text or, with all states, a state."""
    column = table[f"seed_{seed}"].combine_chunks()
    while pa.types.is_nested(column.type):
        column = column.flatten()
    return column.to_numpy()


def computed_directly(texts, spec, *, alphabet=ALPHABET, output="last"):
    """What the engine gives for all texts as one job."""
    engine = Engine(device="cpu")
    job = Job(network=spec, words=Alphabet.of(alphabet).encode(texts), output=Output(output))
    return engine.run_one(job)
