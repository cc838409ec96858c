"""The model of docs/scaling.md is what it says, and its page can't go stale."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

pytest.importorskip("wordfreq")


from bench.scaling import page, tables
from bench.scaling.assumptions import Assumptions
from bench.scaling.costs import Costs
from bench.scaling.figure_tables import approximated, readings
from bench.scaling.figures import FITTED, Figures
from bench.scaling.language import Language, zipf_shares
from bench.scaling.memory import Memory, Traffic
from bench.scaling.model import Model
from bench.scaling.queueing import time_quantile, wait_quantile, waiting_share
from bench.scaling.reading import Reading
from bench.scaling.scenarios import SCENARIOS, Scenario

pytestmark = pytest.mark.long

S = Scenario(name="S", words=3, hidden_size=2)
MERGED = Scenario(name="merged S", words=3, hidden_size=2, is_merged=True)


@pytest.fixture(scope="module")
def figures():
    return Figures.read()


@pytest.fixture
def language():
    """Every word is one letter, of which there are two."""
    words_seen = [1.0, 10.0, 1e6]
    return Language(
        letters_per_word=1.0,
        length_shares=[0.0, 1.0],
        prefix_count=2,
        words_seen=words_seen,
        distinct_prefixes=[1.0, 2.0, 2.0],
    )


@pytest.fixture
def model(language):
    return Model(costs=costs(), language=language, assumptions=Assumptions(network_count=1))


def costs():
    return Costs(
        message_s={"unary": 1e-3, "stream": 0.5e-3},
        byte_s={"unary": 1e-9, "stream": 1e-9},
        large_byte_s={"unary": 2e-9, "stream": 2e-9},
        small_nbytes=1_000.0,
        letter_s=1e-6,
        row_s={2: 1e-6},
        step_s={2: 1e-5},
        network_s={2: 1e-3},
        network_nbytes={2: 4_000},
        merged_call_s=1e-5,
        client_message_s=1e-3,
        client_byte_s=1e-9,
        client_merged_call_s=1e-4,
        process_nbytes=2.0**28,
    )


def test_the_page_has_the_tables_that_its_figures_make(figures):
    made = tables.all_tables(figures)
    assert page.tables_of(page.PATH.read_text()) == made


def test_the_page_shows_every_table_and_every_drawing():
    text = page.PATH.read_text()
    drawings = sorted(path.name for path in (page.PATH.parent / "scaling").glob("*.svg"))
    assert drawings
    assert [name for name in drawings if f"(scaling/{name})" not in text] == []


def test_filling_a_page_twice_changes_nothing():
    text = "before\n<!-- table: one -->\nold\n<!-- end of table -->\nafter"
    once = page.filled(text, {"one": "| new |"})
    assert page.tables_of(once) == {"one": "| new |"}
    assert page.filled(once, {"one": "| new |"}) == once


def test_figures_survive_their_file(figures, tmp_path):
    figures.write(tmp_path / "figures.json")
    again = Figures.read(tmp_path / "figures.json")
    assert again.costs() == figures.costs()
    assert readings(again) == readings(figures)


def test_measured_requests_cost_about_what_the_model_says(figures):
    """Wide, because figures are of a noisy machine; a wrong term is off by more."""
    for probe in set(figures.probes) - set(FITTED):
        for transport in ("unary", "stream"):
            ratio = figures.modelled_s(probe, transport) / figures.server_s(probe, transport)
            assert 0.4 < ratio < 2.5, (probe, transport)


def test_the_approximation_is_near_the_simulation(figures):
    for size, points in figures.simulated["by_memory"].items():
        for point in points:
            states, networks = approximated(figures, corpus_size=int(size), budget_mib=point["budget_mib"])
            assert states == pytest.approx(point["state_hit_rate"], abs=0.1)
            assert networks == pytest.approx(point["network_hit_rate"], abs=0.1)


def test_a_request_costs_the_sum_of_its_parts(model):
    parts = model.parts_s(S, new_states=2, networks=0.5)
    shape = model.shape(S)
    assert shape.letters == 3
    assert shape.reply_nbytes == 60 + 3 * 1 * 2 * 4 + 3
    assert parts == pytest.approx(
        {
            "messages": 1e-3,
            "letters": 3e-6,
            "bytes": 87e-9,
            "new states": 1 * 1e-5 + 2 * 1e-6,
            "new networks": 0.5e-3,
        }
    )


def test_bytes_beyond_the_small_ones_cost_what_large_ones_cost():
    assert costs().sending_s(3_000, "unary") == pytest.approx(1_000e-9 + 2_000 * 2e-9)


def test_processes_follow_from_the_work_and_the_utilisation(model):
    answer = model.answer(S, rate=6_000)
    work_s = 6_000 * answer.request_s
    assert answer.process_count == pytest.approx(work_s / 0.6, abs=1)
    assert model.answer(S, rate=1).process_count == 2


def test_more_requests_never_need_less(figures):
    model = Model(costs=figures.costs(), language=figures.corpora[tables.CORPUS_SIZE])
    for scenario in SCENARIOS:
        answers = [
            model.answer_within(scenario, rate=rate, process_gib=1) for rate in (1e3, 1e4, 1e5, 1e6, 1e7)
        ]
        for fewer, more in pairwise(answers):
            assert fewer.process_count <= more.process_count
            assert fewer.gbit_s < more.gbit_s
            assert fewer.money_per_hour <= more.money_per_hour * (
                1 + 1e-9
            )  # a budget is filled but for a bit


def test_round_robin_computes_and_holds_at_least_what_affinity_does(figures):
    affine = Model(costs=figures.costs(), language=figures.corpora[tables.CORPUS_SIZE])
    turned = replace(affine, has_affinity=False)
    for rate in (1e3, 1e5):
        ours, theirs = (
            model.answer_within(SCENARIOS[0], rate=rate, process_gib=None) for model in (affine, turned)
        )
        assert ours.new_share < theirs.new_share
        assert ours.memory_nbytes < theirs.memory_nbytes


def test_a_hop_takes_what_its_messages_and_bytes_take_and_merged_calls_share_messages(model):
    free = replace(model.assumptions, serve_byte_s=0.0, serve_message_s=1e-3, calls_per_message=100)
    bare = replace(model, assumptions=free)
    alone, merged = (bare.answer(scenario, rate=600).serve_cores for scenario in (S, MERGED))
    assert alone == pytest.approx(600 * 1e-3 / 0.6)
    assert merged == pytest.approx(alone / 100)
    dear = replace(model, assumptions=replace(free, serve_byte_s=1e-9))
    nbytes = bare.shape(S).request_nbytes + bare.shape(S).reply_nbytes
    assert dear.answer(S, rate=600).serve_cores - alone == pytest.approx(600 * nbytes * 1e-9 / 0.6)


def test_memory_enough_keeps_each_network_for_its_lifetime(language):
    memory = Memory(language=language, network_nbytes=100, row_nbytes=10)
    traffic = Traffic(rates=np.array([5.0, 1.0]), copies=np.array([1, 3]), words=1, lifetime_s=100)
    kept = memory.keep(traffic, budget_nbytes=None)
    assert kept.drawn_networks == 4
    assert kept.new_states == pytest.approx(4 * 2)
    assert kept.nbytes == pytest.approx(4 * (100 + 2 * 10))


def test_less_memory_holds_less_and_computes_more(language):
    memory = Memory(language=language, network_nbytes=100, row_nbytes=10)
    rates = zipf_shares(50, exponent=1.0) * 100
    traffic = Traffic(rates=rates, copies=np.ones(50), words=2, lifetime_s=1_000)
    kept = [memory.keep(traffic, budget_nbytes=budget) for budget in (500, 2_000, 5_000, None)]
    for less, more in pairwise(kept):
        assert less.nbytes < more.nbytes
        assert less.drawn_networks > more.drawn_networks
    assert kept[0].nbytes <= 500


def test_new_letters_become_fewer_and_end(figures):
    language = figures.corpora[1_000]
    shares = [language.new_share(count) for count in (1e2, 1e3, 1e4, 1e5, 1e9)]
    assert all(later < earlier for earlier, later in pairwise(shares[:-1]))
    assert shares[-1] == 0


def test_the_longest_of_words_grows_from_one_words_mean(figures):
    language = figures.corpora[tables.CORPUS_SIZE]
    assert language.longest(1) == pytest.approx(language.letters_per_word)
    assert language.longest(1) < language.longest(64) < language.longest(1_024)


def test_one_server_waits_as_the_textbook_says():
    assert waiting_share(0.6) == pytest.approx(0.6)
    assert time_quantile(0.99, utilisation=0.5) == pytest.approx(9.2103, abs=1e-3)
    assert wait_quantile(0.99, utilisation=0.6) == pytest.approx(np.log(60) / 0.4)


def test_erlangs_c_has_its_known_values():
    """Two servers: C = 2 r^2 / (1 + r). Ten at 80 %: 0.409, as printed tables have it."""
    assert waiting_share(0.5, server_count=2) == pytest.approx(2 * 0.25 / 1.5)
    assert waiting_share(0.8, server_count=10) == pytest.approx(0.409, abs=5e-4)
    assert wait_quantile(0.99, utilisation=0.01, server_count=10) == 0


def test_a_queue_without_end_is_refused():
    with pytest.raises(ValueError, match="below 1"):
        waiting_share(1.0)


def test_a_reading_is_its_median_and_tenths():
    reading = Reading.of([float(value) for value in range(21)])
    assert (reading.median, reading.low, reading.high, reading.count) == (10, 2, 18, 21)
