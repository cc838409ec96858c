"""Borders between ranges of texts."""

import pytest

pytest.importorskip("pyarrow")

from hypothesis import given
from hypothesis import strategies as st
from unrolled_corpus.partition import make_partition

pytestmark = pytest.mark.corpus


@given(st.lists(st.text(max_size=4), min_size=1, max_size=200), st.integers(1, 50))
def test_borders_are_sorted_and_depend_on_the_sample_alone(texts, range_texts):
    slices = [{"letters": "", "sample": sorted(set(texts)), "weight": 2}]
    plan = make_partition(slices, alphabet="a", range_texts=range_texts)
    assert list(plan.borders) == sorted(set(plan.borders))
    halves = [slices[0] | {"sample": slices[0]["sample"][at::2]} for at in (1, 0)]
    assert plan == make_partition(halves, alphabet="a", range_texts=range_texts)
    assert plan.bounds(0)[0] is None
    assert plan.bounds(plan.range_count - 1)[1] is None
