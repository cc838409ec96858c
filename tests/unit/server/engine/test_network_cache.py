"""Networks are drawn once, counted in bytes, and evicted by least recent use."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from unrolled_server.engine import Alphabet, NetworkSpec, State, core
from unrolled_server.engine.devices import CpuBackend
from unrolled_server.engine.job import InitialStates
from unrolled_server.engine.network import Reply
from unrolled_server.engine.network_cache import NetworkCache

WORDS = Alphabet.of("abc").encode(["abcabc"])
NOTHING = Reply()


def spec(seed: int) -> NetworkSpec:
    return NetworkSpec(symbol_count=3, hidden_size=8, seed=seed)


def a_cache(budget_bytes: int) -> NetworkCache:
    return NetworkCache(CpuBackend(), budget_bytes=budget_bytes)


@pytest.fixture(scope="module")
def size() -> int:
    """Bytes of a network without rows."""
    cache = a_cache(1 << 30)
    cache.use(spec(0))
    return cache.held_bytes


@pytest.fixture
def cache(size: int) -> NetworkCache:
    return a_cache(3 * size)


def test_a_network_is_drawn_once(cache: NetworkCache) -> None:
    assert cache.use(spec(0)) is cache.use(spec(0))


def test_the_least_recently_used_network_is_evicted_first(cache: NetworkCache) -> None:
    for seed in (0, 1, 2, 0, 3):
        cache.use(spec(seed))
    assert [seed for seed in range(4) if cache.peek(spec(seed))] == [0, 2, 3]


def test_peek_does_not_count_as_a_use(cache: NetworkCache) -> None:
    for seed in (0, 1, 2):
        cache.use(spec(seed))
    cache.peek(spec(0))
    cache.use(spec(3))
    assert cache.peek(spec(0)) is None


def test_held_bytes_are_those_of_the_networks_in_memory(cache: NetworkCache, size: int) -> None:
    for seed in range(10):
        cache.use(spec(seed))
        assert cache.held_bytes == len(cache) * size <= 3 * size


def test_forgetting_a_network_releases_its_counted_bytes(cache: NetworkCache, size: int) -> None:
    cached = cache.use(spec(0))
    cached.network.run(WORDS, NOTHING)
    cache.measure(cached)
    assert cache.held_bytes == cached.nbytes > size
    cache.forget(spec(0))
    assert cache.held_bytes == 0


def test_new_states_evict_other_networks_before_they_are_computed(cache: NetworkCache) -> None:
    for seed in (0, 1, 2):
        cache.use(spec(seed))
    cache.reserve(cache.use(spec(0)), Alphabet.of("abc").encode(["abc" * 1000]))
    assert cache.peek(spec(0)) is not None
    assert len(cache) == 1


def test_new_states_fit_beside_those_that_others_will_need(size: int) -> None:
    words = Alphabet.of("abc").encode(["abc" * 100])
    needed = a_cache(1 << 30).reserve(a_cache(1 << 30).use(spec(0)), words)
    cache = a_cache(3 * size + 2 * needed - 1)
    for seed in (0, 1, 2):
        cache.use(spec(seed))
    cache.reserve(cache.use(spec(1)), words)
    assert len(cache) == 3
    cache.reserve(cache.use(spec(2)), words, besides_nbytes=needed)
    assert [seed for seed in range(3) if cache.peek(spec(seed))] == [1, 2]


def test_known_states_evict_nothing(size: int) -> None:
    cache = a_cache(1 << 30)
    cached = cache.use(spec(0))
    cached.network.run(WORDS, NOTHING)
    cache.measure(cached)
    cache.use(spec(1))
    cache._budget_bytes = cache.held_bytes
    cache.reserve(cached, WORDS)
    assert len(cache) == 2
    cache.reserve(cached, Alphabet.of("abc").encode(["ccc"]))
    assert len(cache) == 1


def test_a_network_larger_than_the_budget_runs_alone() -> None:
    cache = a_cache(1)
    cache.use(spec(0))
    cache.use(spec(1))
    assert len(cache) == 1
    cached = cache.use(spec(1))
    assert cached.max_rows == 1
    assert cached.max_word_rows * cached.network.row_nbytes == pytest.approx(256 << 20, rel=0.01)


def test_what_a_table_takes_is_at_most_twice_what_its_rows_may_take(cache: NetworkCache) -> None:
    for options in ({}, {"bidirectional": True}, {"bidirectional": True, "num_layers": 2}):
        of_kind = replace(spec(5), **options)  # type: ignore[arg-type]
        for length in (1, 10, 100, 1_000):
            cached = a_cache(1 << 30).use(of_kind)
            empty = cached.network.nbytes
            words = Alphabet.of("abc").encode(["abcb" * length, "cab" * length])
            cached.network.run(words, NOTHING)
            rows = cached.network.row_count
            assert rows <= words.letter_count * of_kind.rows_per_symbol
            # Hash maps of 32 slots, and for each table blocks of 32 rows at least, twice its rows at most.
            smallest = 5_000 + 256 * cached.network.row_nbytes
            assert cached.network.nbytes - empty <= 2 * rows * cached.network.row_nbytes + smallest


def test_a_temporary_network_is_counted_while_it_exists(cache: NetworkCache, size: int) -> None:
    cached = cache.use(spec(0))
    before = cache.held_bytes
    starts = InitialStates(State(np.ones((1, 2, 8), np.float32)))
    with cache.temporary(cached, starts) as temporary:
        temporary.network.run(WORDS.starting_at(np.zeros(1, np.int32)), NOTHING)
        cache.measure(temporary)
        assert cache.held_bytes == before + temporary.nbytes > before + size
        assert cached.network.row_count == 0
    assert cache.held_bytes == before


def test_ctrl_c_while_a_temporary_network_is_freed_is_not_lost(
    cache: NetworkCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = core._free_states

    def interrupted(*states: Any) -> None:
        free(*states)
        raise KeyboardInterrupt

    cached = cache.use(spec(0))
    monkeypatch.setattr(core, "_free_states", interrupted)
    starts = InitialStates(State(np.ones((1, 2, 8), np.float32)))
    with pytest.raises(KeyboardInterrupt), cache.temporary(cached, starts):
        pass
