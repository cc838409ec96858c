"""What the engine takes: for a new state, for a step, for a network. On its own, without a server.

A new state is measured by words that are asked of a network for the first time and again: the difference,
over the distinct prefixes. One word has one state a step, so it tells what a step costs that has hardly any.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import count as counted

from unrolled_server.engine import Alphabet, Engine, Job, NetworkSpec, plain_network
from unrolled_server.engine.network import base_nbytes

from bench.pairs import Timing, Way, measure
from bench.scaling.reading import Reading
from bench.workloads import LETTERS, random_words

HIDDEN_SIZES = (2, 64, 256, 1_024)
WORD_COUNT = 1_024
ONE_WORD = ("abcdefgh",)
STATE_MEMORY_BYTES = 2 << 30


class Asked:
    """Words that are asked of known and of new networks."""

    def __init__(
        self, engine: Engine, words: Sequence[str], *, hidden_size: int, seeds: Iterator[int]
    ) -> None:
        self._engine = engine
        self._words = Alphabet.of(LETTERS).encode(words)
        self._one_letter = Alphabet.of(LETTERS).encode(["z"])
        self._hidden_size = hidden_size
        self._fresh: list[NetworkSpec] = []
        self._seeds = seeds
        self.known = Way(call=lambda: self._ask(self._spec(0)))
        self.first = Way(call=lambda: self._ask(self._fresh.pop()), prepare=self._meet)
        self.network = Way(call=lambda: self._draw(self._next()))

    def _spec(self, seed: int) -> NetworkSpec:
        return plain_network(len(LETTERS), self._hidden_size, seed)

    def _next(self) -> NetworkSpec:
        return self._spec(next(self._seeds))

    def _meet(self, count: int) -> None:
        self._fresh = [self._next() for _ in range(count)]
        for spec in self._fresh:
            self._draw(spec)

    def _draw(self, spec: NetworkSpec) -> None:
        next(self._engine.run([Job(network=spec, words=self._one_letter)]))

    def _ask(self, spec: NetworkSpec) -> None:
        answer = next(self._engine.run([Job(network=spec, words=self._words)]))
        if isinstance(answer, Exception):
            raise answer


def network_nbytes() -> Mapping[int, int]:
    """By hidden size: what a network takes before it meets a word."""
    return {size: base_nbytes(plain_network(len(LETTERS), size, 0)) for size in HIDDEN_SIZES}


def engine_readings(*, budget_s: float) -> Mapping[int, Mapping[str, Reading]]:
    """By hidden size: seconds of a new state, of a step, of a network."""
    engine = Engine(device="cpu", state_memory_bytes=STATE_MEMORY_BYTES)
    engine.prove()
    share_s = budget_s / len(HIDDEN_SIZES)
    return {size: _readings(engine, hidden_size=size, budget_s=share_s) for size in HIDDEN_SIZES}


def _readings(engine: Engine, *, hidden_size: int, budget_s: float) -> Mapping[str, Reading]:
    words = random_words(WORD_COUNT, seed=2)
    row_count = len({word[: end + 1] for word in words for end in range(len(word))})
    seeds = counted(1)
    many = Asked(engine, words, hidden_size=hidden_size, seeds=seeds)
    one = Asked(engine, ONE_WORD, hidden_size=hidden_size, seeds=seeds)
    row_ways = {"known": many.known, "first": many.first}
    step_ways = {"known": one.known, "first": one.first, "network": one.network}
    rows = measure(row_ways, budget_s=budget_s * 0.7, clock=time.process_time)
    steps = measure(step_ways, budget_s=budget_s * 0.3, clock=time.process_time)
    row_s = _differences(rows, count=row_count)
    step_s = _differences(steps, count=len(ONE_WORD[0]))
    return {
        "row_s": Reading.of(row_s),
        "step_s": Reading.of([max(0.0, taken - Reading.of(row_s).median) for taken in step_s]),
        "network_s": Reading.of(steps["network"].seconds),
    }


def _differences(taken: Mapping[str, Timing], *, count: int) -> list[float]:
    pairs = zip(taken["first"].seconds, taken["known"].seconds, strict=True)
    return [(first - known) / count for first, known in pairs]
