"""Fixed jobs whose replies have the same bits on every CPU, and the digest of these."""

import hashlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from unrolled_server.engine.alphabet import Alphabet
from unrolled_server.engine.job import Answer, Job, Output, State
from unrolled_server.engine.spec import Cell, NetworkSpec, Nonlinearity

GOLDEN_FINGERPRINT = "c3e30f45361dffbd"
"""The fingerprint of every CPU."""

_WORDS = ("hello", "eolll", "lleel", "h", "ole", "hello" * 5)
_HIDDEN_SIZE = 21  # neither a power of two nor a multiple of a vector


def golden_fingerprint(answer: Callable[[Job], Answer]) -> str:
    """Returns 16 hexadecimal digits of the digest of the golden jobs' answers."""
    digest = hashlib.sha256()
    for job in _golden_jobs():
        found = answer(job)
        state = found.final_state
        for array in (found.values, *((state.h, state.c) if state else ())):
            if array is not None:
                digest.update(array.data)
    return digest.hexdigest()[:16]


def _golden_jobs() -> Iterator[Job]:
    words = Alphabet.of("helo").encode(_WORDS)
    for spec in _golden_networks():
        yield Job(network=spec, words=words, return_final_state=True)
    for output in (Output.LAST, Output.MEAN, Output.MAX):
        yield Job(network=_network(cell=Cell.GRU, bidirectional=True), words=words, output=output)
    states = np.linspace(-1, 1, 2 * 2 * len(_WORDS) * _HIDDEN_SIZE, dtype=np.float32)
    h, c = states.reshape(2, 2, len(_WORDS), _HIDDEN_SIZE)
    spec = _network(cell=Cell.LSTM, num_layers=2)
    yield Job(network=spec, words=words, initial_state=State(h, c), return_final_state=True)


def _golden_networks() -> Sequence[NetworkSpec]:
    plain = [_network(hidden_size=hidden_size) for hidden_size in (1, 2, 16, 64, 130)]
    stacks = [
        _network(cell=cell, num_layers=layers, bidirectional=bidirectional)
        for cell in Cell
        for layers in (1, 2)
        for bidirectional in (False, True)
    ]
    others = [
        _network(nonlinearity=Nonlinearity.RELU, bias=False),
        _network(cell=Cell.LSTM, proj_size=5, num_layers=2, bidirectional=True),
        _network(cell=Cell.GRU, embedding_size=30),
        _network(cell=Cell.GRU, spectral_radius=0.9),
        _network(spectral_radius=2.5),
    ]
    return [*plain, *stacks, *others]


def _network(hidden_size: int = _HIDDEN_SIZE, **options: object) -> NetworkSpec:
    return NetworkSpec(symbol_count=4, hidden_size=hidden_size, seed=0, **options)  # type: ignore[arg-type]
