"""224 jobs over all networks and replies, and the digests of their answers.

`python -m tests.unit.server.engine.golden_jobs` prints the table of `golden_digests.txt`. Its digests change
only by a decision that the changelog names.
"""

import hashlib
import itertools
import random
import sys
from collections.abc import Iterator

import numpy as np
from unrolled_server.engine import (
    RANDOM_WORD_SYMBOLS,
    Answer,
    Cell,
    EncodedWords,
    Engine,
    Job,
    Layout,
    NetworkSpec,
    Nonlinearity,
    Output,
    ReplyForm,
    State,
    WordVectors,
)

_ALPHABET = "abcdefgh"
_HIDDEN_SIZES = (1, 2, 5, 16, 17, 33, 64, 100, 130)
_COUNT = 200
_RESERVOIRS = (
    {"leak_rate": 0.3},
    {"input_scaling": 0.1},
    {"density": 0.25},
    {"leak_rate": 0.3, "input_scaling": 2.5, "density": 0.1, "spectral_radius": 0.9},
)


def _numbers(*shape: int) -> np.ndarray:
    """Returns float32 numbers from -1 to 1 that depend on the shape alone."""
    places = np.arange(np.prod(shape, dtype=np.int64))
    return ((places * 7919 % 2003 - 1001) / 1001).astype(np.float32).reshape(shape)


VECTORS = WordVectors("golden", _numbers(20, 7), _numbers(7))


def golden_engine() -> Engine:
    return Engine(device="cpu", vectors=[VECTORS])


def golden_jobs() -> Iterator[Job]:
    """Yields the jobs; the generator's numbers are the same in every version of Python."""
    chosen = random.Random(5)
    cells = [
        {"cell": Cell.RNN},
        {"cell": Cell.RNN, "nonlinearity": Nonlinearity.RELU},
        {"cell": Cell.LSTM},
        {"cell": Cell.LSTM, "proj_size": 3},
        {"cell": Cell.GRU},
    ]
    inputs = [{}, {"embedding_size": 6}, {"embedding_size": VECTORS.size, "vectors": VECTORS.digest}]
    choices = itertools.product(cells, (1, 2, 3), (False, True), inputs)
    for number, (cell, layers, bidirectional, source) in enumerate(
        itertools.islice(itertools.cycle(choices), _COUNT)
    ):
        has_radius = chosen.random() < 0.2 and "proj_size" not in cell
        sizes = [size for size in _HIDDEN_SIZES if size > cell.get("proj_size", 0)]
        network = NetworkSpec(
            symbol_count=WordVectors.symbol_count_of(20) if "vectors" in source else len(_ALPHABET),
            hidden_size=sizes[chosen.randrange(len(sizes))],
            seed=chosen.randrange(2**32),
            num_layers=layers,
            bidirectional=bidirectional,
            bias=chosen.random() < 0.8,
            spectral_radius=0.9 if has_radius else 0.0,
            **cell,
            **source,
        )
        yield _job(network, number, chosen)
    yield from _reservoir_jobs(chosen)
    yield from _any_word_jobs()


def _reservoir_jobs(chosen: random.Random) -> Iterator[Job]:
    kinds = [
        {"hidden_size": 130},
        {"hidden_size": 33, "nonlinearity": Nonlinearity.RELU, "embedding_size": 6},
        {"hidden_size": 17, "num_layers": 2, "bidirectional": True},
    ]
    for number, (kind, options) in enumerate(itertools.product(kinds, _RESERVOIRS), start=_COUNT):
        network = NetworkSpec(symbol_count=len(_ALPHABET), seed=number, **kind, **options)
        yield _job(network, number, chosen)


def _job(network: NetworkSpec, number: int, chosen: random.Random) -> Job:
    count = (1, 3, 7, 20, 100)[chosen.randrange(5)]
    is_swapped = number % 5 == 0
    lengths = [1 + chosen.randrange(12) for _ in range(count)]
    lengths = lengths[:1] * count if is_swapped else lengths
    codes = [chosen.randrange(network.symbol_count) for _ in range(sum(lengths))]
    # With seq_first every position is a sequence of its own, with a state of its own.
    state_count = lengths[0] if is_swapped else count
    layers = network.num_layers * network.directions
    state = None
    if number % 3 == 0:
        h, c = (_numbers(layers, state_count, size) for size in (network.state_size, network.hidden_size))
        state = State(h, c if network.cell is Cell.LSTM else None)
    return Job(
        network=network,
        words=EncodedWords.of(np.array(codes, np.int32), np.array(lengths, np.int32)),
        layout=Layout.SEQ_FIRST if is_swapped else Layout.BATCH_FIRST,
        output=Output.ALL if is_swapped else list(Output)[number % 4],
        form=ReplyForm.DISTINCT if number % 8 == 0 else ReplyForm.DENSE,
        initial_state=state,
        return_final_state=number % 2 == 0,
    )


def _any_word_jobs() -> Iterator[Job]:
    """Yields jobs with empty words, symbols that stand for zeros, and random word vectors."""
    chosen = random.Random(6)
    inputs = [{"symbol_count": 8}, {"symbol_count": 8, "embedding_size": 6}]
    inputs += [{"symbol_count": RANDOM_WORD_SYMBOLS, "embedding_size": size} for size in (5, 33)]
    for number, (cell, source) in enumerate(itertools.product(Cell, inputs)):
        spec = NetworkSpec(
            hidden_size=_HIDDEN_SIZES[number % 9],
            seed=chosen.randrange(2**32),
            cell=cell,
            num_layers=1 + number % 2,
            bidirectional=number % 3 == 0,
            **source,
        )
        lengths = [chosen.randrange(6) for _ in range(20)]
        codes = [chosen.randrange(9) for _ in range(sum(lengths))]
        yield Job(
            network=spec,
            words=EncodedWords.of(np.array(codes, np.int32), np.array(lengths, np.int32)),
            output=list(Output)[number % 4],
            return_final_state=True,
        )


def digest(answer: Answer | Exception) -> str:
    """Returns 16 hexadecimal digits that identify an answer's bytes."""
    if isinstance(answer, Exception):
        raise answer
    state = answer.final_state or State(np.zeros((0, 0, 0), np.float32))
    digest = hashlib.sha256()
    for array in (answer.values, answer.index, state.h, state.c):
        digest.update(b"" if array is None else np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


def describe(job: Job) -> str:
    """Returns a job's line in the table, without its digest."""
    spec = job.network
    shape = f"hidden {spec.hidden_size} layers {spec.num_layers} directions {spec.directions}"
    asked = f"words {len(job.words)} {job.layout.value} {job.output.value} {job.form.value}"
    reservoir = "".join(
        f" {name} {value}"
        for name in ("leak_rate", "input_scaling", "density")
        if (value := getattr(spec, name)) != 1
    )
    return f"{spec.cell.value} {spec.nonlinearity.value} {shape} {asked}{reservoir}"


def lines(engine: Engine) -> list[str]:
    """Returns the table of an engine."""
    jobs = list(golden_jobs())
    return [f"{digest(answer)} {describe(job)}" for job, answer in zip(jobs, engine.run(jobs), strict=True)]


if __name__ == "__main__":
    sys.stdout.write("\n".join(lines(golden_engine())) + "\n")
