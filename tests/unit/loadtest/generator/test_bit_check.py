"""Comparison of replies to the same request, bit for bit."""

from hypothesis import given
from hypothesis import strategies as st
from unrolled_loadtest.generator.bit_check import BitChecker


def checked(*answers, count=4):
    checker = BitChecker(count)
    for index, bits in answers:
        checker.check(index, bits)
    return checker.result()


@given(st.binary(min_size=1, max_size=300), st.data())
def test_a_single_differing_bit_is_found_anywhere(bits, data):
    flipped = bytearray(bits)
    flipped[data.draw(st.integers(0, len(bits) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    found = checked((2, bits), (2, bytes(flipped)), (2, bits))
    assert (found.differing_count, found.first_differing) == (1, 2)


def test_equal_answers_and_answers_to_other_requests_do_not_differ():
    found = checked((0, b"a"), (1, b"b"), (0, b"a"), (1, memoryview(b"b")))
    assert (found.differing_count, found.first_differing) == (0, None)
