"""What people write for a number that is drawn."""

import numpy as np
import pytest
from unrolled_client import InvalidRequestError
from unrolled_client.load.amounts import parse_amount


def drawn(text, count=20_000):
    return parse_amount(text, name="words").draw(np.random.default_rng(0), count)


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
    "text", ["", "x", "8-1", "geometric:0.5", "choice:", "choice:1,x", "1.5", str(2**64)]
)
def test_what_is_no_amount_is_refused_by_its_name(text):
    with pytest.raises(InvalidRequestError, match=r"words is '.*'; write a number, a range such as 1-8"):
        parse_amount(text, name="words")


@pytest.mark.parametrize("text", ["0", "0-3", "choice:1,0"])
def test_an_amount_below_what_makes_sense_is_refused(text):
    with pytest.raises(InvalidRequestError, match="must be 1 or more"):
        parse_amount(text, name="words", at_least=1)
