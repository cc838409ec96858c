"""How texts are cut into batches, and rows into row groups."""

import pytest

pytest.importorskip("pyarrow")

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from unrolled_corpus.encode import MAX_BATCH_BYTES, cut_batches
from unrolled_corpus.parquet_output import MAX_ROW_GROUP_BYTES, cut_row_groups

pytestmark = pytest.mark.corpus


@given(st.lists(st.integers(1, 4_000), max_size=300))
def test_batches_and_row_groups_are_consecutive_and_within_their_bytes(lengths):
    batches = list(cut_batches(lengths, text_bytes=256, symbol_bytes=4_100))
    assert [at for part in batches for at in range(part.start, part.stop)] == list(range(len(lengths)))
    for part in batches:
        padded = (part.stop - part.start) * (256 + 4_100 * max(lengths[part]))
        assert padded <= MAX_BATCH_BYTES or part.stop - part.start == 1
    groups = list(cut_row_groups(np.array(lengths, np.int64), row_bytes=40_000))
    assert [at for rows in groups for at in range(rows.start, rows.stop)] == list(range(len(lengths)))
    for rows in groups:
        assert sum(lengths[rows]) * 40_000 <= MAX_ROW_GROUP_BYTES or rows.stop - rows.start == 1
