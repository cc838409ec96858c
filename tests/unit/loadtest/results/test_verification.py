"""Merging of the bit checks of several processes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unrolled_loadtest.generator.bit_check import BitChecker
from unrolled_loadtest.results.verification import merge_bit_checks
from unrolled_loadtest.workload.requests import make_workload

from tests.support.loadtest.plans import request_mix


def checked(*answers, count=4):
    checker = BitChecker(count)
    for index, bits in answers:
        checker.check(index, bits)
    return checker.result()


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from([b"a", b"b"])), max_size=40), st.integers(1, 3))
def test_merged_checks_find_what_one_process_finds(answers, process_count):
    """The first answer of the first process is the reference, so differing counts may vary."""
    parts = [answers[process::process_count] for process in range(process_count)]
    alone = merge_bit_checks([checked(*(answer for part in parts for answer in part))], as_json=str)
    found = merge_bit_checks([checked(*part) for part in parts], as_json=str)
    assert found.distinct_count == alone.distinct_count
    assert found.checked_count == alone.checked_count
    assert (found.differing_count > 0) == (alone.differing_count > 0)
    assert (found.first_differing is None) == (alone.first_differing is None)


def test_the_report_counts_comparisons_and_shows_the_request():
    workload = make_workload(request_mix(), seed=0)
    found = merge_bit_checks(
        [checked((0, b"a"), (0, b"a"), (1, b"c"), (0, b"x"), count=50)], as_json=workload.as_json
    )
    assert (found.mode, found.checked_count, found.distinct_count, found.differing_count) == ("bits", 2, 2, 1)
    assert json.loads(found.first_differing)["words"] == workload.requests[0].words


def test_without_answers_nothing_is_compared():
    found = merge_bit_checks([checked()], as_json=pytest.fail)
    assert (found.checked_count, found.distinct_count, found.first_differing) == (0, 0, None)
