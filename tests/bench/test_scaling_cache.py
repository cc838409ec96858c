"""The simulated memory is the real engine's: the same requests give the same counts."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest

pytest.importorskip("wordfreq")

from unrolled_server.engine import Alphabet, Engine, Job, plain_network
from unrolled_server.engine.network import base_nbytes

from bench.scaling.cache import SimulatedCache, Sizes
from bench.scaling.corpus import english
from bench.scaling.language import zipf_shares
from bench.workloads import LETTERS

pytestmark = pytest.mark.long

MIB = 1 << 20
HIDDEN_SIZE = 16


@pytest.fixture(scope="module")
def corpus():
    return english(2_000)


def sizes():
    return Sizes(
        base_nbytes=base_nbytes(plain_network(len(LETTERS), HIDDEN_SIZE, 0)),
        hidden_size=HIDDEN_SIZE,
        symbol_count=len(LETTERS),
    )


@dataclass(frozen=True, kw_only=True)
class Case:
    words: int
    budget_bytes: int
    network_count: int = 20

    def requests(self, corpus, count=150):
        draw = np.random.default_rng(1)
        names = draw.choice(self.network_count, size=count, p=zipf_shares(self.network_count, exponent=1.0))
        for name in names.tolist():
            yield name, draw.choice(len(corpus.words), size=self.words, p=corpus.shares)

    def cache(self, corpus):
        return SimulatedCache(corpus, sizes=sizes(), budget_bytes=self.budget_bytes)


CASES = (
    Case(words=3, budget_bytes=1 << 30),
    Case(words=3, budget_bytes=MIB),
    Case(words=3, budget_bytes=MIB // 4),
    Case(words=64, budget_bytes=1 << 30),
    Case(words=64, budget_bytes=2 * MIB),
    Case(words=64, budget_bytes=MIB // 2),
    Case(words=64, budget_bytes=MIB // 4, network_count=2),
    Case(words=300, budget_bytes=MIB),
)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_simulation_counts_what_the_engine_counts(corpus, case):
    engine = Engine(device="cpu", state_memory_bytes=case.budget_bytes)
    simulated = case.cache(corpus)
    alphabet = Alphabet.of(LETTERS)
    for name, picks in case.requests(corpus):
        texts = [corpus.words[pick] for pick in picks]
        job = Job(network=plain_network(len(LETTERS), HIDDEN_SIZE, name), words=alphabet.encode(texts))
        answer = next(engine.run([job]))
        assert not isinstance(answer, Exception)
        simulated.ask(name, picks)
        counted = (engine.asked_rows, engine.computed_rows, engine.network_count, engine.held_bytes)
        ours = (simulated.asked_rows, simulated.computed_rows, len(simulated), simulated.held_bytes)
        assert ours == counted


def test_short_memory_is_met_in_those_cases(corpus):
    """They would prove little if nothing ever left."""
    drawn_again, restarted = 0, 0
    for case in CASES:
        simulated = case.cache(corpus)
        for name, picks in case.requests(corpus):
            simulated.ask(name, picks)
        drawn_again += simulated.drawn_count > case.network_count
        restarted += simulated.restart_count > 0
    assert drawn_again >= 3
    assert restarted >= 1


def test_the_closed_form_agrees_with_what_is_drawn(corpus):
    draw = np.random.default_rng(2)
    picks = draw.choice(len(corpus.words), size=(40, 500), p=corpus.shares)
    drawn = np.mean([len(np.unique(corpus.prefixes_of(row))) for row in picks])
    assert corpus.distinct_prefixes(500) == pytest.approx(drawn, rel=0.02)


def test_a_corpus_that_was_all_met_has_all_its_prefixes(corpus):
    counts = [corpus.distinct_prefixes(10.0**power) for power in range(12)]
    assert all(smaller < larger for smaller, larger in pairwise(counts[:6]))
    assert counts[-1] == pytest.approx(len(corpus.prefix_shares))
