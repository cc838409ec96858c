import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from unrolled_server.engine.children import (
    Children,
    DenseChildren,
    SparseChildren,
    TableFullError,
    new_children,
    next_capacity,
)


def add_all(children: Children, key_lists: list[list[int]]) -> list[dict[int, int]]:
    """Adds lists of keys and returns each list's rows by key."""
    children.reserve(100, None)
    next_row, found = 1, []
    for keys in key_lists:
        rows, new_keys = children.find_or_add(np.array(keys, np.int64), next_row)
        found.append(dict(zip(keys, rows.tolist(), strict=True)))
        assert [children.row_by_key[key] for key in new_keys.tolist()] == [
            *range(next_row, next_row + len(new_keys))
        ]
        next_row += len(new_keys)
    return found


@given(st.lists(st.lists(st.integers(0, 199), min_size=1, max_size=30), min_size=1, max_size=4))
def test_both_kinds_give_each_distinct_key_one_permanent_row(key_lists: list[list[int]]) -> None:
    for children in (DenseChildren(2), SparseChildren()):
        rows: dict[int, int] = {}
        for found in add_all(children, key_lists):
            assert all(rows.setdefault(key, row) == row for key, row in found.items())
        assert sorted(rows.values()) == [*range(1, len(rows) + 1)]


def test_single_keys_and_arrays_of_keys_see_the_same_rows() -> None:
    for children in (DenseChildren(2), SparseChildren()):
        children.reserve(10, None)
        children.row_by_key[7] = 3
        rows, new_keys = children.find_or_add(np.array([7, 8, 8]), 4)
        assert (rows.tolist(), new_keys.tolist()) == ([3, 4, 4], [8])
        assert not children.row_by_key[9]


def test_looking_up_a_missing_child_takes_no_memory() -> None:
    for children in (DenseChildren(2), SparseChildren()):
        children.reserve(10, None)
        before = children.nbytes
        assert children.row_by_key[9] == 0
        assert children.nbytes == before


def test_long_alphabets_store_only_existing_children() -> None:
    assert isinstance(new_children(26), DenseChildren)
    assert isinstance(new_children(5000), SparseChildren)


@given(st.integers(1, 10_000), st.integers(0, 10_000), st.integers(0, 10_000))
def test_while_a_table_grows_old_and_new_fit_together(needed: int, capacity: int, max_rows: int) -> None:
    try:
        grown = next_capacity(needed=needed, capacity=capacity, max_rows=max_rows)
    except TableFullError:
        assert needed + capacity > max_rows
    else:
        assert grown >= needed
        assert grown + capacity <= max_rows
