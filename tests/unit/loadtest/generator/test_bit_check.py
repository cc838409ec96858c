"""One bit that differs is found, whichever process saw it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unrolled_loadtest.generator.bit_check import BitChecker
from unrolled_loadtest.results.verification import make_verification, merge_bit_checks
from unrolled_loadtest.workload.requests import make_workload

from tests.support.loadtest.plans import request_mix


def checked(*answers, count=4):
    checker = BitChecker(count)
    for index, bits in answers:
        checker.check(index, bits)
    return checker.result()


@given(st.binary(min_size=1, max_size=300), st.data())
def test_a_single_bit_is_found_wherever_it_is(bits, data):
    flipped = bytearray(bits)
    flipped[data.draw(st.integers(0, len(bits) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    found = checked((2, bits), (2, bytes(flipped)), (2, bits))
    assert (found.differing_count, found.first_differing) == (1, 2)


def test_equal_answers_and_other_requests_are_no_difference():
    found = checked((0, b"a"), (1, b"b"), (0, b"a"), (1, memoryview(b"b")))
    assert (found.differing_count, found.first_differing) == (0, None)


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from([b"a", b"b"])), max_size=40), st.integers(1, 3))
def test_processes_find_together_what_one_would_find(answers, process_count):
    """What the first process has first is right. A process that began with a wrong one counts more."""
    parts = [answers[process::process_count] for process in range(process_count)]
    alone = checked(*(answer for part in parts for answer in part))
    found = merge_bit_checks(checked(*part) for part in parts)
    assert found.first_digests == alone.first_digests
    assert (found.differing_count > 0) == (alone.differing_count > 0)
    assert (found.first_differing is None) == (alone.first_differing is None)


def test_the_report_counts_comparisons_and_shows_the_request():
    workload = make_workload(request_mix(), seed=0)
    found = make_verification(
        checked((0, b"a"), (0, b"a"), (1, b"c"), (0, b"x"), count=50), as_json=workload.as_json
    )
    assert (found.mode, found.checked_count, found.distinct_count, found.differing_count) == ("bits", 2, 2, 1)
    assert json.loads(found.first_differing)["words"] == workload.requests[0].words


def test_nothing_answered_is_nothing_compared():
    found = make_verification(merge_bit_checks([checked()]), as_json=pytest.fail)
    assert (found.checked_count, found.distinct_count, found.first_differing) == (0, 0, None)
