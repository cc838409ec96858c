"""The bindings of the native core: loading it, numbering states, running and freeing networks."""

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unrolled_core import LIBRARY
from unrolled_server.engine import Alphabet, Engine, Output, State, Stop, StoppedError
from unrolled_server.engine.core import CoreError, isa_name, load, number
from unrolled_server.engine.job import InitialStates
from unrolled_server.engine.network import Reply, TableFullError
from unrolled_server.engine.random_numbers import Generator, spectral_radius

from .run_jobs import answer, job

lists_of_words = st.lists(st.text("abc", min_size=1, max_size=6), min_size=1, max_size=9)


def test_a_missing_core_is_an_error_that_says_how_to_build_it():
    with pytest.raises(CoreError, match=r"not installed; build it with: pip install \./server/native$"):
        load(None, isa="")


def test_a_file_that_is_no_core_is_an_error_that_says_how_to_build_one(tmp_path):
    file = tmp_path / "core.so"
    file.write_bytes(b"no library")
    with pytest.raises(CoreError, match=r"can't be loaded .*; build it with: pip install"):
        load(file, isa="")


def test_a_core_of_another_version_is_refused(monkeypatch):
    monkeypatch.setattr("unrolled_server.engine.core._ABI_VERSION", 999)
    with pytest.raises(CoreError, match="has interface 2, and this server needs 999; build it"):
        load(LIBRARY, isa="")


def test_an_unknown_instruction_set_is_an_error_that_lists_those_of_the_cpu():
    with pytest.raises(CoreError, match=r"UNROLLED_ISA is 'mmx'; this CPU has (\w+, )*portable; name one"):
        load(LIBRARY, isa="mmx")


def test_the_instruction_set_in_use_has_a_name(engine):
    assert isa_name() == engine.isa != ""


def test_generators_of_one_seed_draw_the_same_numbers_in_order():
    first, second = Generator(7), Generator(7)
    drawn = [generator.uniform((3, 5), 4) for generator in (first, second)]
    assert drawn[0].tobytes() == drawn[1].tobytes()
    assert first.uniform((15,), 4).tobytes() != drawn[0].tobytes()
    assert first.normal((4, 5)).shape == (4, 5)


def test_the_spectral_radius_is_the_largest_absolute_eigenvalue():
    assert spectral_radius(np.array([[0, 2], [-2, 0]], np.float32)) == pytest.approx(2, rel=1e-6)


def expected_numbers(words, starts, *, whole_words):
    """Numbers states by a dict."""
    seen: dict[object, int] = {}
    numbers = np.zeros((len(words), max(map(len, words))), np.int32)
    for row, word, start in zip(numbers, words, starts, strict=True):
        for at in range(len(word)):
            key = (start, word, at) if whole_words else (start, word[: at + 1])
            row[at] = seen.setdefault(key, len(seen) + 1)
    return numbers, len(seen)


@given(lists_of_words, st.booleans(), st.randoms(use_true_random=False), st.booleans())
def test_states_are_numbered_by_first_appearance(words, whole_words, chance, has_starts):
    starts = [chance.randrange(2) if has_starts else 0 for _ in words]
    encoded = Alphabet.of("abc").encode(words)
    if has_starts:
        encoded = encoded.starting_at(np.array(starts, np.int32))
    expected, largest = expected_numbers(words, starts, whole_words=whole_words)
    numbers, found = number(encoded, whole_words=whole_words, max_number=largest)
    assert found == largest
    assert np.array_equal(numbers, expected)
    assert number(encoded, whole_words=whole_words, max_number=largest - 1) is None


@pytest.fixture
def network():
    engine = Engine(device="cpu")
    answer(engine, job(["c"]))
    return engine._networks.peek(job(["c"]).network).network


def outputs(network, encoded):
    values = np.empty((len(encoded), encoded.max_length, 5), np.float32)
    network.run(encoded, Reply(values=values))
    return values


def test_words_are_known_once_they_were_run(network):
    words = Alphabet.of("abc").encode(["abc", "ab"])
    assert not network.is_known(words)
    network.run(words, Reply())
    assert network.is_known(words)
    assert network.is_known(words.part(1, 2))
    assert not network.is_known(Alphabet.of("abc").encode(["abca"]))


def test_a_full_table_is_empty_afterwards_and_can_be_filled_again(network):
    words = Alphabet.of("abc").encode(["abca", "bcab", "cabc"])
    expected = outputs(network, words)
    with pytest.raises(TableFullError):
        network.run(words, Reply(), max_rows=5)
    assert network.row_count == 0
    assert outputs(network, words).tobytes() == expected.tobytes()


@pytest.mark.parametrize("deadline_s", [1e10, 3.6e11, float("inf")])
def test_a_deadline_in_centuries_stops_nothing(deadline_s):
    """A call of gRPC may have 99,999,999 hours: more nanoseconds than 64 bits hold."""
    asked = replace(job(random_words(count=40, length=60), hidden_size=256), output=Output.LAST)
    (result,) = Engine(device="cpu").run([asked], stops=[Stop(deadline_s)])
    assert not isinstance(result, Exception)


def test_a_stopped_run_keeps_what_it_finished():
    """The flag is read about every 10 ms, so the run may have finished some rows, or all."""
    engine = Engine(device="cpu")
    stop = Stop()
    stop.set()
    asked = replace(job(random_words(count=40, length=60), hidden_size=256), output=Output.LAST)
    engine._networks.use(asked.network)  # drawing stops, too
    (result,) = engine.run([asked], stops=[stop])
    assert isinstance(result, StoppedError)
    network = engine._networks.peek(asked.network).network
    assert network.row_count < asked.words.letter_count
    values = np.empty((40, 256), np.float32)
    network.run(asked.words, Reply(output=Output.LAST, values=values))
    assert values.tobytes() == answer(Engine(device="cpu"), asked).values.tobytes()


def random_words(*, count, length):
    return ["".join(word) for word in np.random.default_rng(0).choice(list("abc"), (count, length))]


def test_values_may_be_views_of_a_larger_reply(network):
    words = Alphabet.of("abc").encode(["abca", "bc"])
    expected = outputs(network, words)
    larger = np.full((6, 3, 5), np.nan, np.float32)  # (positions, words, output)
    network.run(words, Reply(values=larger[:, 1:].swapaxes(0, 1)))
    assert larger[:4, 1:].swapaxes(0, 1).tobytes() == expected.tobytes()
    assert not larger[4:, 1:].any()
    assert np.isnan(larger[:, 0]).all()


def test_weights_live_as_long_as_the_networks_that_use_them():
    engine = Engine(device="cpu")
    answer(engine, job(["c"]))
    network = engine._networks.peek(job(["c"]).network).network
    started = network.starting_at(InitialStates(State(np.ones((1, 1, 5), np.float32))))
    weights = weakref.ref(started._weights)
    del engine, network
    gc.collect()
    words = Alphabet.of("abc").encode(["abc"]).starting_at(np.zeros(1, np.int32))
    assert outputs(started, words).any()
    del started
    gc.collect()
    assert weights() is None
