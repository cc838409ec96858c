import numpy as np
import pytest
import torch
from unrolled_server.engine.alphabet import Alphabet, EncodedWords
from unrolled_server.engine.cells import Stepper
from unrolled_server.engine.children import TableFullError
from unrolled_server.engine.network import CachedNetwork
from unrolled_server.engine.proof import Proof
from unrolled_server.engine.recurrence import draw_recurrence
from unrolled_server.engine.spec import NetworkSpec
from unrolled_server.engine.states import ReplyScratch

CPU = torch.device("cpu")


def encode(*words: str, symbols: str = "abc") -> EncodedWords:
    return Alphabet.of(symbols).encode(words)


def no_room_needed(nbytes: int) -> None:
    pass


@pytest.fixture
def network() -> CachedNetwork:
    spec = NetworkSpec(symbol_count=3, hidden_size=8, seed=0)
    return CachedNetwork(spec, draw_recurrence(spec, vectors=None, proof=Proof(CPU), device=CPU))


def states_nbytes(network: CachedNetwork) -> int:
    return network.recurrence._tables.nbytes


def computed(network: CachedNetwork, words: EncodedWords) -> np.ndarray:
    return network.compute_rows(words, max_rows=None, make_room=no_room_needed)


def test_cached_words_have_the_rows_of_the_tree(network: CachedNetwork) -> None:
    words = encode("abc", "b", "abca")
    index = computed(network, words)
    network.cache(words, index)
    cached = network.cached_rows(encode("abca", "b"))
    assert cached is not None
    assert np.array_equal(cached, index[[2, 1]])


def test_a_word_has_the_same_row_in_every_list(network: CachedNetwork) -> None:
    words = encode("abc", "b")
    index = computed(network, words)
    network.cache(words, index)
    assert np.array_equal(network.cached_rows(encode("abc", "b")), index)
    assert np.array_equal(network.cached_rows(encode("b", "abc")), index[::-1])


def test_looking_up_cached_rows_takes_no_memory(network: CachedNetwork) -> None:
    words = encode("a", "b", "c")
    network.cache(words, computed(network, words))
    before = network.nbytes
    assert network.cached_rows(encode("c", "a")) is not None
    assert network.nbytes == before


def test_a_word_is_cached_under_its_own_alphabet(network: CachedNetwork) -> None:
    words = encode("abc")
    network.cache(words, computed(network, words))
    assert network.has_cached_rows(encode("abc"))
    assert not network.has_cached_rows(encode("abc", symbols="cba"))
    assert network.cached_rows(encode("abc", symbols="cba")) is None


def test_a_cleared_network_has_nothing_cached(network: CachedNetwork) -> None:
    words = encode("abc")
    network.cache(words, computed(network, words))
    network.clear()
    assert not network.has_cached_rows(words)
    assert network.nbytes == network.base_nbytes


def test_cached_words_take_at_most_twice_the_memory_of_the_states(network: CachedNetwork) -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        words = encode("".join(rng.choice(list("abc"), 6)))
        network.cache(words, computed(network, words))
    states = network.recurrence.nbytes
    assert network.nbytes - network.base_nbytes <= 2 * states + 1000


def test_a_full_table_leaves_no_incomplete_prefixes(network: CachedNetwork) -> None:
    computed(network, encode("ab"))
    many = ["".join(np.random.default_rng(i).choice(list("abc"), 8)) for i in range(50)]
    with pytest.raises(TableFullError):
        network.compute_rows(encode(*many), max_rows=100, make_room=no_room_needed)
    assert network.nbytes == network.base_nbytes


def test_a_failed_step_leaves_no_rows(network: CachedNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = computed(network, encode("abc"))
    expected = network.gather(rows, ReplyScratch())
    network.clear()

    def fail(self: object, *arguments: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(Stepper, "run", fail)
        with pytest.raises(MemoryError):
            computed(network, encode("abc"))
    rows = computed(network, encode("abc"))
    assert np.array_equal(network.gather(rows, ReplyScratch()), expected)


def test_memory_is_freed_before_states_are_allocated(network: CachedNetwork) -> None:
    asked: list[tuple[int, int]] = []
    network.compute_rows(
        encode("abc"), max_rows=None, make_room=lambda nbytes: asked.append((nbytes, states_nbytes(network)))
    )
    assert asked == [(states_nbytes(network), 0)]
