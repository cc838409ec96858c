import numpy as np
import pytest
import torch
from unrolled_server.engine.alphabet import Alphabet
from unrolled_server.engine.job import InitialStates, State
from unrolled_server.engine.network import base_nbytes
from unrolled_server.engine.network_cache import NetworkCache
from unrolled_server.engine.proof import Proof
from unrolled_server.engine.spec import NetworkSpec

CPU = torch.device("cpu")


def spec(seed: int) -> NetworkSpec:
    return NetworkSpec(symbol_count=3, hidden_size=8, seed=seed)


SIZE = base_nbytes(spec(0))


@pytest.fixture
def cache() -> NetworkCache:
    return NetworkCache(budget_bytes=3 * SIZE, proof=Proof(CPU), device=CPU)


def test_a_network_is_drawn_once(cache: NetworkCache) -> None:
    assert cache.use(spec(0)) is cache.use(spec(0))


def test_the_least_recently_used_network_leaves_first(cache: NetworkCache) -> None:
    for seed in (0, 1, 2, 0, 3):
        cache.use(spec(seed))
    assert [seed for seed in range(4) if cache.peek(spec(seed))] == [0, 2, 3]


def test_peeking_is_no_use(cache: NetworkCache) -> None:
    for seed in (0, 1, 2):
        cache.use(spec(seed))
    cache.peek(spec(0))
    cache.use(spec(3))
    assert cache.peek(spec(0)) is None


def test_held_bytes_are_those_of_the_networks_in_memory(cache: NetworkCache) -> None:
    for seed in range(10):
        cache.use(spec(seed))
        assert cache.held_bytes == len(cache) * SIZE <= 3 * SIZE


def test_a_forgotten_network_gives_back_what_was_counted_for_it(cache: NetworkCache) -> None:
    network = cache.use(spec(0))
    words = Alphabet.of("abc").encode(["abcabc"])
    network.compute_rows(words, max_rows=None, make_room=lambda _: None)
    cache.measure(network)
    assert cache.held_bytes == network.nbytes > SIZE
    cache.forget(spec(0))
    assert cache.held_bytes == 0


def test_making_room_spares_the_network_it_is_for(cache: NetworkCache) -> None:
    for seed in (0, 1, 2):
        cache.use(spec(seed))
    cache.make_room(2 * SIZE, keep=cache.use(spec(0)))
    assert cache.peek(spec(0)) is not None
    assert len(cache) == 1


def test_a_network_larger_than_the_budget_still_runs_alone() -> None:
    cache = NetworkCache(budget_bytes=1, proof=Proof(CPU), device=CPU)
    cache.use(spec(0))
    cache.use(spec(1))
    assert len(cache) == 1
    assert cache.max_rows(cache.use(spec(1))) == 0


def test_a_temporary_network_is_counted_while_it_exists(cache: NetworkCache) -> None:
    network = cache.use(spec(0))
    before = cache.held_bytes
    starts = InitialStates(State(np.ones((1, 2, 8), np.float32)))
    with cache.temporary(network, starts) as temporary:
        words = Alphabet.of("abc").encode(["abcabc"]).starting_at(np.zeros(1, np.int32))
        temporary.compute_rows(words, max_rows=None, make_room=lambda _: None)
        cache.measure(temporary)
        assert cache.held_bytes == before + temporary.nbytes > before + SIZE
        assert network.nbytes == SIZE
    assert cache.held_bytes == before
