import numpy as np
import pytest
import torch
from unrolled_server.engine.alphabet import Alphabet, EncodedWords
from unrolled_server.engine.cells import Stepper
from unrolled_server.engine.children import TableFullError
from unrolled_server.engine.network import Network
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
def network() -> Network:
    spec = NetworkSpec(symbol_count=3, hidden_size=8, seed=0)
    return Network(spec, draw_recurrence(spec, vectors=None, proof=Proof(CPU), device=CPU))


def states_nbytes(network: Network) -> int:
    return network.recurrence._tables.nbytes


def learn(network: Network, words: EncodedWords) -> np.ndarray:
    return network.learn(words, max_rows=None, make_room=no_room_needed)


def test_remembered_words_have_the_rows_that_the_tree_gave(network: Network) -> None:
    words = encode("abc", "b", "abca")
    index = learn(network, words)
    network.remember(words, index)
    recalled = network.recall(encode("abca", "b"))
    assert recalled is not None
    assert np.array_equal(recalled, index[[2, 1]])


def test_a_list_learnt_before_and_its_words_in_another_list_have_the_same_rows(network: Network) -> None:
    words = encode("abc", "b")
    index = learn(network, words)
    network.remember(words, index)
    assert np.array_equal(network.recall(encode("abc", "b")), index)
    assert np.array_equal(network.recall(encode("b", "abc")), index[::-1])


def test_recalling_takes_no_memory(network: Network) -> None:
    words = encode("a", "b", "c")
    network.remember(words, learn(network, words))
    before = network.nbytes
    assert network.recall(encode("c", "a")) is not None
    assert network.nbytes == before


def test_a_word_is_remembered_under_its_own_alphabet(network: Network) -> None:
    words = encode("abc")
    network.remember(words, learn(network, words))
    assert network.remembers(encode("abc"))
    assert not network.remembers(encode("abc", symbols="cba"))
    assert network.recall(encode("abc", symbols="cba")) is None


def test_a_cleared_network_remembers_nothing(network: Network) -> None:
    words = encode("abc")
    network.remember(words, learn(network, words))
    network.clear()
    assert not network.remembers(words)
    assert network.nbytes == network.base_nbytes


def test_remembered_words_never_cost_more_than_twice_the_states(network: Network) -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        words = encode("".join(rng.choice(list("abc"), 6)))
        network.remember(words, learn(network, words))
    states = network.recurrence.nbytes
    assert network.nbytes - network.base_nbytes <= 2 * states + 1000


def test_a_network_that_is_too_full_holds_no_half_known_prefixes(network: Network) -> None:
    learn(network, encode("ab"))
    many = ["".join(np.random.default_rng(i).choice(list("abc"), 8)) for i in range(50)]
    with pytest.raises(TableFullError):
        network.learn(encode(*many), max_rows=100, make_room=no_room_needed)
    assert network.nbytes == network.base_nbytes


def test_a_step_that_fails_leaves_no_rows_behind(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = learn(network, encode("abc"))
    expected = network.gather(rows, ReplyScratch())
    network.clear()

    def fail(self: object, *arguments: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(Stepper, "run", fail)
        with pytest.raises(MemoryError):
            learn(network, encode("abc"))
    rows = learn(network, encode("abc"))
    assert np.array_equal(network.gather(rows, ReplyScratch()), expected)


def test_room_is_made_before_states_are_allocated(network: Network) -> None:
    asked: list[tuple[int, int]] = []
    network.learn(
        encode("abc"), max_rows=None, make_room=lambda nbytes: asked.append((nbytes, states_nbytes(network)))
    )
    assert asked == [(states_nbytes(network), 0)]
