from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from unrolled_server.engine import (
    Alphabet,
    Answer,
    AnswerTooLargeError,
    Cell,
    Engine,
    Job,
    Layout,
    NetworkSpec,
    NotWantedError,
    Stop,
    StoppedError,
    network_cache,
    plain_network,
)

from .run_jobs import answer, answers, job, torch_states

LETTERS = "abcdefghijklmnopqrstuvwxyz"
HELLO = ["hello", "eolll", "lleel"]

# Arguments and not jobs, since the shape checks of the tests draw random numbers, which strategies must not.
job_arguments = st.fixed_dictionaries(
    {
        "words": st.lists(st.text("abc", min_size=1, max_size=7), min_size=1, max_size=12),
        "hidden_size": st.sampled_from([1, 2, 5, 16, 20, 64]),
        "seed": st.integers(0, 2),
    }
)
seq_first_arguments = st.fixed_dictionaries(
    {
        "words": st.integers(1, 5).flatmap(
            lambda n: st.lists(st.text("abc", min_size=n, max_size=n), min_size=1, max_size=9)
        ),
        "hidden_size": st.sampled_from([2, 16]),
        "layout": st.just(Layout.SEQ_FIRST),
    }
)


def random_words(seed: int, count: int, max_letters: int = 9) -> list[str]:
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list("abc"), rng.integers(1, max_letters + 1))) for _ in range(count)]


@pytest.mark.parametrize("hidden_size", [1, 2, 7, 16, 50, 256, 300])
@pytest.mark.parametrize("seed", [0, -1, 2**62 + 11])
def test_answers_are_within_a_millionth_of_torch_run_on_each_word_alone(
    engine: Engine, hidden_size: int, seed: int
) -> None:
    words = random_words(hidden_size, 20)
    expected = torch_states(words, hidden_size=hidden_size, seed=seed, alphabet="abc")
    values = answer(engine, job(words, hidden_size=hidden_size, seed=seed)).values
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-6)


def test_seq_first_gives_the_lessons_listing(engine: Engine) -> None:
    values = answer(engine, job(HELLO, hidden_size=2, alphabet="helo", layout=Layout.SEQ_FIRST)).values
    listing = [
        [-0.7497, -0.6135],
        [-0.5282, -0.2473],
        [-0.9136, -0.4269],
        [-0.9136, -0.4269],
        [-0.9028, 0.1180],
    ]
    np.testing.assert_allclose(values[0], listing, rtol=0, atol=5e-5)


@pytest.mark.parametrize("count", [3, 100])
def test_seq_first_recurs_along_the_words_as_torch_does(engine: Engine, count: int) -> None:
    words = ["".join(np.random.default_rng(i).choice(list("abc"), 5)) for i in range(count)]
    torch.manual_seed(4)
    rnn = torch.nn.RNN(3, 20)
    codes = torch.tensor([["abc".index(letter) for letter in word] for word in words])
    expected = rnn(torch.nn.functional.one_hot(codes, 3).float())[0].detach().numpy()
    values = answer(engine, job(words, hidden_size=20, seed=4, layout=Layout.SEQ_FIRST)).values
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-6)


def test_values_are_contiguous_float32_in_both_layouts(engine: Engine) -> None:
    for layout in Layout:
        values = answer(engine, job(["ab"] * 40, hidden_size=64, layout=layout)).values
        assert values.flags.c_contiguous
        assert values.dtype == np.float32


@given(
    st.lists(st.one_of(job_arguments, seq_first_arguments), min_size=1, max_size=8),
    st.sampled_from([0, 3_000, 30_000, 1 << 30]),
)
def test_a_jobs_bits_do_not_depend_on_its_batch_the_table_or_the_budget(
    arguments: list[dict[str, Any]], budget: int
) -> None:
    batch = [job(**each) for each in arguments]
    shared = Engine(device="cpu", state_memory_bytes=budget)
    together = answers(shared, batch)
    again = answers(shared, batch[::-1])[::-1]
    alone = [answers(Engine(device="cpu"), [one])[0] for one in batch]
    assert together == alone
    assert again == alone


@pytest.mark.parametrize("hidden_size", [2, 48, 256])
def test_a_words_bytes_are_the_same_among_any_number_of_words(engine: Engine, hidden_size: int) -> None:
    words = random_words(1, 700, 12)
    whole = answer(engine, job(words, hidden_size=hidden_size)).values.copy()
    for count in (1, 2, 3, 5, 9, 33, 257):
        part = answer(Engine(device="cpu"), job(words[-count:], hidden_size=hidden_size)).values
        assert part.tobytes() == whole[-count:, : part.shape[1]].tobytes()


def test_words_in_another_order_keep_their_bytes() -> None:
    words = random_words(2, 300)
    order = np.random.default_rng(0).permutation(300)
    straight = answer(Engine(device="cpu"), job(words, hidden_size=33)).values
    shuffled = answer(Engine(device="cpu"), job([words[i] for i in order], hidden_size=33)).values
    assert straight[order].tobytes() == shuffled.tobytes()


@pytest.mark.parametrize("budget", [0, 20_000, 200_000])
@pytest.mark.parametrize("layout", Layout)
def test_a_job_larger_than_the_budget_runs_in_slices(budget: int, layout: Layout) -> None:
    words = ["".join(np.random.default_rng(i).choice(list("abc"), 6)) for i in range(300)]
    asked = job(words, hidden_size=64, layout=layout)
    expected = answer(Engine(device="cpu"), asked).values
    assert (
        answer(Engine(device="cpu", state_memory_bytes=budget), asked).values.tobytes() == expected.tobytes()
    )


@pytest.mark.parametrize("layout", Layout)
def test_a_word_whose_states_need_too_much_memory_is_refused(
    monkeypatch: pytest.MonkeyPatch, layout: Layout
) -> None:
    monkeypatch.setattr(network_cache, "_MIN_WORD_BYTES", 1 << 20)
    engine = Engine(device="cpu", state_memory_bytes=20_000)
    count, size = (5, 5_000) if layout is Layout.BATCH_FIRST else (5_000, 5)
    words = ["".join(np.random.default_rng(i).choice(list("abc"), size)) for i in range(count)]
    (refused, answered) = engine.run([job(words, hidden_size=64, layout=layout), job(["abc"] * 300)])
    assert isinstance(refused, AnswerTooLargeError)
    assert "one sequence of 5000 symbols would take more than the 1 MiB that this server has" in str(refused)
    assert isinstance(answered, Answer)
    assert engine.held_bytes < 100_000


def test_alphabets_of_equal_length_share_a_network_but_not_the_meaning_of_letters() -> None:
    asked = [
        job(["abcab"] * 40, alphabet="abc"),
        job(["abcab"] * 40, alphabet="bca"),
        job(["cba"], alphabet="cba"),
    ]
    assert answers(Engine(device="cpu"), asked) == [answers(Engine(device="cpu"), [one])[0] for one in asked]


def test_a_jobs_failure_is_its_own_result(engine: Engine) -> None:
    bad = job(["ab", "a"], layout=Layout.SEQ_FIRST)
    good = job(["ab", "a"])
    results = answers(engine, [good, bad, good])
    assert isinstance(results[1], ValueError)
    assert results[0] == results[2] == answers(engine, [good])[0]


def test_many_seeds_stay_within_the_memory_budget() -> None:
    budget = 100_000
    engine = Engine(device="cpu", state_memory_bytes=budget)
    for seed in range(200):
        answer(engine, job(HELLO, hidden_size=8, seed=seed, alphabet="helo"))
        assert engine.held_bytes <= budget
    assert engine.network_count > 10


def test_a_growing_network_evicts_others_before_itself() -> None:
    engine = Engine(device="cpu", state_memory_bytes=400_000)
    for seed in range(20):
        answer(engine, job(["abc"], hidden_size=64, seed=seed))
    answer(engine, job(random_words(0, 200, 8), hidden_size=64, seed=99))
    assert engine.held_bytes <= 400_000
    assert engine.network_count < 20


def test_a_job_is_known_once_all_its_states_are_in_memory(engine: Engine) -> None:
    asked = job(HELLO, hidden_size=2, seed=77, alphabet="helo")
    assert not engine.is_known(asked)
    answer(engine, asked)
    assert engine.is_known(asked)
    assert not engine.is_known(job([*HELLO, "hell", "oh"], hidden_size=2, seed=77, alphabet="helo"))
    assert not engine.is_known(replace(asked, layout=Layout.SEQ_FIRST))


def test_only_a_network_that_is_not_in_memory_must_be_drawn(engine: Engine) -> None:
    asked = job(HELLO, hidden_size=64, seed=78, alphabet="helo")
    scaled = replace(asked.network, spectral_radius=0.9)
    plain = engine.drawing_multiplications(asked.network)
    answer(engine, asked)
    assert engine.drawing_multiplications(asked.network) == 0
    assert engine.drawing_multiplications(scaled) > 2 * plain > 0


def test_drawing_counts_layers_and_embeddings_and_only_recurrent_weights_for_a_radius(engine: Engine) -> None:
    def drawing(**options: Any) -> int:
        return engine.drawing_multiplications(replace(plain_network(4, 8, 79), **options))

    assert drawing(num_layers=8, bidirectional=True) > 5 * drawing()
    assert drawing(embedding_size=512) > 2 * drawing(symbol_count=512)
    radius = drawing(spectral_radius=0.9) - drawing()
    assert drawing(spectral_radius=0.9, symbol_count=512) - drawing(symbol_count=512) == radius
    mask = drawing(density=0.5) - drawing()
    assert drawing(density=0.5, symbol_count=512) - drawing(symbol_count=512) == mask > 0


def test_the_global_generator_is_not_changed(engine: Engine) -> None:
    before = torch.get_rng_state()
    answer(engine, job(["abc"], seed=123))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_large_alphabet_answers_as_torch_does(engine: Engine) -> None:
    symbols = "".join(map(chr, range(0x4E00, 0x4E00 + 300)))
    words = ["".join(np.random.default_rng(i).choice(list(symbols), 4)) for i in range(60)]
    expected = torch_states(words, hidden_size=12, seed=0, alphabet=symbols)
    values = answer(engine, job(words, hidden_size=12, alphabet=symbols)).values
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-6)


def test_the_engine_accepts_any_alphabet_length_of_the_network(engine: Engine) -> None:
    asked = Job(
        network=NetworkSpec(symbol_count=26, hidden_size=3, seed=0),
        words=Alphabet.of(LETTERS).encode(["zebra"]),
    )
    assert answer(engine, asked).values.shape == (1, 5, 3)


def test_a_cancelled_job_is_not_computed_and_each_job_is_checked_once():
    engine, asked = Engine(device="cpu"), []

    def is_wanted(at):
        asked.append(at)
        return at not in (1, 3)

    words = [Alphabet.of("abc").encode([word]) for word in ("aa", "bb", "ca", "cb")]
    jobs = [Job(network=plain_network(3, 2, seed=int(at == 3)), words=words[at]) for at in range(4)]
    results = [
        result.values.tobytes() if isinstance(result, Answer) else type(result)
        for result in engine.run(jobs, is_wanted=is_wanted)
    ]
    alone = [next(Engine(device="cpu").run([job])).values.tobytes() for job in jobs]
    assert results == [alone[0], NotWantedError, alone[2], NotWantedError]
    assert sorted(asked) == [0, 1, 2, 3]
    assert not engine.is_known(jobs[1])  # a known prefix would be there, the word itself is not
    assert engine._networks.peek(jobs[3].network) is None


@pytest.mark.parametrize("is_late", [False, True])
def test_a_stopped_job_ends_and_the_next_one_runs(is_late: bool) -> None:
    stop = Stop(deadline_s=0.0) if is_late else Stop()
    if not is_late:
        stop.set()
    jobs = [job(random_words(0, 2_000, 200), hidden_size=256), job(["abc"], seed=5)]
    stopped, answered = Engine(device="cpu").run(jobs, stops=[stop, Stop()])
    assert isinstance(stopped, StoppedError)
    assert isinstance(answered, Answer)


def test_the_memory_of_rows_that_a_stopped_job_left_uncomputed_is_counted_later() -> None:
    engine, stop = Engine(device="cpu"), Stop()
    words = random_words(0, 3_000, 30)
    answer(engine, job(["a"], hidden_size=256))
    stop.set()
    assert isinstance(engine.run_one(job(words, hidden_size=256), stop), StoppedError)
    before = engine.held_bytes
    answer(engine, job(words[:300], hidden_size=256))
    network = next(iter(engine._networks._networks.values()))
    assert engine.held_bytes == network.network.nbytes + network_cache._OBJECTS_NBYTES > before


def test_rows_are_counted_as_they_are_asked_and_computed() -> None:
    engine = Engine(device="cpu")
    for words, asked_rows, computed_rows in ((["abc", "abd"], 6, 4), (["abc"], 9, 4), (["abe"], 12, 5)):
        answer(engine, job(words, alphabet="abcde"))
        assert (engine.asked_rows, engine.computed_rows) == (asked_rows, computed_rows)


def test_jobs_of_one_network_are_computed_together_and_each_row_once() -> None:
    engine = Engine(device="cpu")
    assert len(answers(engine, [job(["abc"]), job(["abd"], alphabet="abd"), job(["ab"])])) == 3
    assert engine.computed_rows == 3  # letters of different alphabets are the same symbols


@pytest.mark.parametrize(
    ("cell", "count", "length"), [(Cell.RNN, 1_500, 9), (Cell.LSTM, 40, 50), (Cell.GRU, 1, 500)]
)
def test_threads_share_a_large_job_and_change_no_bit(cell: Cell, count: int, length: int) -> None:
    words = [*random_words(3, count, length), "abc" * (length // 3)]
    large = job(words, hidden_size=256, cell=cell)
    expected = answer(Engine(device="cpu"), large).values.tobytes()
    for threads in (2, 3):
        assert answer(Engine(device="cpu", threads=threads), large).values.tobytes() == expected


def test_threads_compute_networks_of_a_batch_side_by_side() -> None:
    jobs = [job(random_words(seed, 30), hidden_size=64, seed=seed % 20) for seed in range(40)]
    expected = answers(Engine(device="cpu"), jobs)
    engine = Engine(device="cpu", threads=2)
    assert answers(engine, jobs) == expected
    held_bytes = sum(cached.nbytes for cached in engine._networks._networks.values())
    assert engine.held_bytes == held_bytes
    assert engine.network_count == 20


def test_a_small_job_of_known_states_costs_no_memory() -> None:
    engine = Engine(device="cpu")
    answer(engine, job(HELLO, alphabet="helo"))
    held = engine.held_bytes
    answer(engine, job(HELLO[::-1], alphabet="helo"))
    assert engine.held_bytes == held
