"""Functions that make jobs, run them, and compute the expected states with torch."""

from collections.abc import Sequence

import numpy as np
import torch
from unrolled_server.engine import Alphabet, Answer, Cell, Engine, Job, Layout, NetworkSpec


def job(
    words: Sequence[str],
    *,
    hidden_size: int = 5,
    seed: int = 0,
    alphabet: str = "abc",
    layout: Layout = Layout.BATCH_FIRST,
    cell: Cell = Cell.RNN,
) -> Job:
    """Returns a job as the service makes it."""
    spec = NetworkSpec(symbol_count=len(alphabet), hidden_size=hidden_size, seed=seed, cell=cell)
    return Job(network=spec, words=Alphabet.of(alphabet).encode(words), layout=layout)


def answers(engine: Engine, jobs: Sequence[Job]) -> list[bytes | Exception]:
    """Returns each job's values as bytes, copied while they are valid, or its error."""
    return [result.values.tobytes() if isinstance(result, Answer) else result for result in engine.run(jobs)]


def answer(engine: Engine, asked: Job) -> Answer:
    """Returns one job's answer, or raises its error."""
    result = engine.run_one(asked)
    if isinstance(result, Exception):
        raise result
    return result


def torch_states(words: Sequence[str], *, hidden_size: int, seed: int, alphabet: str) -> np.ndarray:
    """Returns the states that torch computes for each word alone, zero past its end."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        rnn = torch.nn.RNN(len(alphabet), hidden_size, batch_first=True)
    values = np.zeros((len(words), max(map(len, words)), hidden_size), np.float32)
    for row, word in enumerate(words):
        codes = torch.tensor([[alphabet.index(letter) for letter in word]])
        with torch.no_grad():
            one_hot = torch.nn.functional.one_hot(codes, len(alphabet)).float()
            values[row, : len(word)] = rnn(one_hot)[0][0].numpy()
    return values
