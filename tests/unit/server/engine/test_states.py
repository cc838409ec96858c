import numpy as np
import pytest
import torch
from unrolled_server.engine.children import TableFullError
from unrolled_server.engine.states import ReplyScratch, StateTable, TableGroup

CPU = torch.device("cpu")


def filled_table(rows: int, hidden_size: int) -> StateTable:
    table = StateTable(hidden_size, CPU)
    table.grow(rows)
    table.rows[1:] = torch.rand(rows - 1, hidden_size)
    return table


def test_row_0_is_zero_after_every_growth() -> None:
    table = filled_table(8, 4)
    table.grow(16)
    assert not table.rows[0].any()


def test_growing_keeps_the_rows() -> None:
    table = filled_table(8, 4)
    before = table.rows.clone()
    table.grow(100)
    assert torch.equal(table.rows[:8], before)


@pytest.mark.parametrize("on_cpu", [True, False])
@pytest.mark.parametrize("batch", [2, 3000])
def test_a_reply_is_the_rows_of_the_index(batch: int, on_cpu: bool) -> None:
    table = filled_table(50, 7)
    index = np.random.default_rng(0).integers(0, 50, (batch, 5), np.int32)
    expected = table.rows.numpy()[index]
    if not on_cpu:
        table.is_on_cpu = False
    values = table.gather(index, ReplyScratch())
    assert values.flags.c_contiguous
    assert values.dtype == np.float32
    assert np.array_equal(values, expected)


def test_large_replies_reuse_one_memory() -> None:
    table, scratch = filled_table(50, 64), ReplyScratch()
    index = np.ones((1000, 5), np.int32)
    assert np.shares_memory(table.gather(index, scratch), table.gather(index[:500], scratch))


def test_a_table_within_its_capacity_does_not_grow() -> None:
    table, asked = filled_table(8, 4), []
    TableGroup([table]).reserve(8, max_rows=0, make_room=asked.append)
    assert table.capacity == 8
    assert not asked


def test_a_table_that_cannot_be_copied_within_its_limit_is_full() -> None:
    with pytest.raises(TableFullError):
        TableGroup([filled_table(8, 4)]).reserve(9, max_rows=16, make_room=lambda _: None)


def test_a_cleared_table_gives_its_memory_back() -> None:
    table = filled_table(8, 4)
    table.clear()
    assert table.nbytes == 0
