"""Formatting of numbers; the examples are in the docstrings."""

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unrolled_client._display import printable
from unrolled_loadtest.report import formatting, terminal
from unrolled_loadtest.results import histogram


@pytest.mark.parametrize("module", [printable, histogram, formatting, terminal])
def test_the_docstring_examples_run(module):
    assert doctest.testmod(module, raise_on_error=True).attempted


@given(st.floats(1e-6, 3_600))
def test_milliseconds_have_three_digits_and_no_more_than_a_microsecond(seconds):
    told = float(formatting.milliseconds(seconds).replace(",", ""))
    assert told == pytest.approx(seconds * 1e3, rel=0.005, abs=0.0005)


@given(st.integers(0, 10**6), st.integers(1, 10**6))
def test_only_exact_shares_are_shown_as_0_or_100_percent(part, whole):
    part = min(part, whole)
    told = formatting.percentage(part, whole)
    assert (told == "0 %") == (part == 0)
    assert (told == "100 %") == (part == whole)
