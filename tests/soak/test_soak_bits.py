"""The short form of `make soak-bits`."""

from dataclasses import astuple

import pytest

from tests.soak.soak_bits import CONFIGURATIONS, count_differing, make_cases


@pytest.fixture(scope="module")
def cases():
    return make_cases(60, seed=1)


# The hardest configurations: several threads with little memory, and many callers with much memory.
QUICK = {(2, 1, 8), (1, 1024, 64)}


@pytest.mark.parametrize(
    "configuration",
    [
        pytest.param(each, id=str(each), marks=() if astuple(each) in QUICK else pytest.mark.long)
        for each in CONFIGURATIONS
    ],
)
def test_every_reply_has_the_bits_of_its_request_computed_alone(cases, configuration):
    assert count_differing(cases, configuration, replies=60, seed=2) == 0


def test_a_single_different_bit_is_detected(cases):
    first = cases[0]
    flipped = bytes([first.expected[0] ^ 1]) + first.expected[1:]
    wrong = type(first)(request=first.request, expected=flipped)
    assert count_differing([wrong], CONFIGURATIONS[0], replies=3, seed=0) == 3
