"""Parsing and drawing of random amounts and seeds."""

import numpy as np
import pytest
from unrolled_client import InvalidRequestError
from unrolled_loadtest.workload.distributions import parse_distribution


def drawn(text, count=20_000):
    return parse_distribution(text, name="words").draw(np.random.default_rng(0), count)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("3", {3}),
        ("-5", {-5}),
        ("1-8", set(range(1, 9))),
        ("-2--1", {-2, -1}),
        ("choice:2,16,256", {2, 16, 256}),
    ],
)
def test_every_value_and_no_other_is_drawn(text, values):
    assert set(drawn(text).tolist()) == values


def test_a_geometric_amount_is_1_or_more_and_has_its_mean():
    numbers = drawn("geometric:4")
    assert numbers.min() == 1
    assert numbers.mean() == pytest.approx(4, rel=0.05)


def test_an_amount_repeats_from_its_seed():
    assert np.array_equal(drawn("1-1000"), drawn("1-1000"))


@pytest.mark.parametrize(
    "text", ["", "x", "8-1", "geometric:0.5", "choice:", "choice:1,x", "1.5", "nan", "9" * 5_000]
)
def test_a_malformed_amount_is_refused_with_its_option(text):
    with pytest.raises(InvalidRequestError, match=r"words is '.*'; write a number, a range such as 1-8"):
        parse_distribution(text, name="words")


@pytest.mark.parametrize("text", ["0", "0-3", "choice:1,0", "100", "1-100", "geometric:100", "9" * 400])
def test_an_amount_out_of_range_is_refused_with_the_range(text):
    with pytest.raises(InvalidRequestError, match=r"words is '.*'; it must be from 1 to 99"):
        parse_distribution(text, name="words", low=1, high=99)


SEEDS = [0, -1, -(2**63), 2**63 - 1, 2**63, 2**64 - 1]


@pytest.mark.parametrize("seed", SEEDS)
def test_every_seed_that_torch_takes_is_drawn_as_the_same_seed(seed):
    """A seed is 64 bits; whether they stand for a number below 0 or above 2**63 does not matter."""
    for text in (str(seed), f"{seed}-{seed}", f"choice:{seed}"):
        assert {number % 2**64 for number in drawn(text, 5).tolist()} == {seed % 2**64}


def test_a_range_of_seeds_may_pass_2_to_the_63():
    first, last = 2**63 - 2, 2**63 + 1
    assert {number % 2**64 for number in drawn(f"{first}-{last}", 200).tolist()} == set(
        range(first, last + 1)
    )


def test_the_widest_range_of_seeds_can_be_drawn():
    assert len(set(drawn(f"{-(2**63)}-{2**64 - 1}", 50).tolist())) == 50


@pytest.mark.parametrize("text", [str(2**64), str(-(2**63) - 1), f"0-{2**64}", f"choice:1,{2**64}"])
def test_a_seed_that_torch_refuses_is_refused(text):
    with pytest.raises(
        InvalidRequestError, match=r"seed is .*; it must be from -9,223,372,036,854,775,808 to 18"
    ):
        parse_distribution(text, name="seed")
