import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unrolled_server.engine.alphabet import Alphabet, EncodedWords
from unrolled_server.engine.children import TableFullError
from unrolled_server.engine.prefix_tree import PrefixTree, Resolution

word_lists = st.lists(st.text("abc", min_size=1, max_size=8), min_size=1, max_size=120)


def encode(words: list[str]) -> EncodedWords:
    return Alphabet.of("abc").encode(words)


def prefixes_by_row(words: list[str], resolution: Resolution, known: dict[int, str]) -> dict[int, str]:
    """Returns each row's prefix according to the index; fails if two words disagree."""
    rows = dict(known)
    for word, row_list in zip(words, resolution.index.tolist(), strict=True):
        assert not any(row_list[len(word) :])
        for end, row in enumerate(row_list[: len(word)], 1):
            assert rows.setdefault(row, word[:end]) == word[:end]
    return rows


def check_steps(resolution: Resolution, prefixes: dict[int, str], first_row: int) -> int:
    """Checks that the steps compute consecutive rows, each from an earlier row."""
    for step in resolution.steps:
        assert step.first_row == first_row
        for row, (parent, symbol) in enumerate(zip(step.parents, step.symbols, strict=True), first_row):
            assert parent < first_row
            assert prefixes[row] == prefixes[int(parent)] + "abc"[symbol]
        first_row += len(step.parents)
    return first_row


@pytest.mark.parametrize("symbol_count", [3, 1000])
@given(batches=st.lists(word_lists, min_size=1, max_size=4))
def test_every_distinct_prefix_has_one_row_computed_once_after_its_parent(
    symbol_count: int, batches: list[list[str]]
) -> None:
    tree = PrefixTree(symbol_count)
    prefixes = {0: ""}
    for words in batches:
        first_row = tree.row_count
        resolution = tree.resolve(encode(words), max_rows=None)
        prefixes = prefixes_by_row(words, resolution, prefixes)
        assert check_steps(resolution, prefixes, first_row) == tree.row_count
    everything = {word[:end] for words in batches for word in words for end in range(len(word) + 1)}
    assert sorted(prefixes.values()) == sorted(everything)
    assert tree.row_count == len(everything)


@pytest.mark.parametrize("symbol_count", [3, 1000])
def test_the_two_algorithms_for_short_and_long_lists_share_their_rows(symbol_count: int) -> None:
    few, many = ["abc", "b"], ["abcabc", "b", "ab"] * 60
    tree = PrefixTree(symbol_count)
    by_loop = tree.resolve(encode(few), max_rows=None)
    by_position = tree.resolve(encode(many), max_rows=None)
    again = tree.resolve(encode(few), max_rows=None)
    assert by_position.index[0, :3].tolist() == by_loop.index[0].tolist()
    assert np.array_equal(again.index, by_loop.index)
    assert not again.steps


@pytest.mark.parametrize("symbol_count", [3, 1000])
@given(words=word_lists, max_rows=st.integers(0, 60))
def test_a_tree_holds_at_most_max_rows(symbol_count: int, words: list[str], max_rows: int) -> None:
    tree = PrefixTree(symbol_count)
    try:
        tree.resolve(encode(words), max_rows=max_rows)
    except TableFullError:
        tree.clear()
    assert tree.row_count <= max(max_rows, 1)
    assert tree.nbytes <= max_rows * tree.row_nbytes


def test_a_cleared_tree_frees_its_memory() -> None:
    tree = PrefixTree(3)
    tree.resolve(encode(["abc"]), max_rows=None)
    tree.clear()
    assert (tree.row_count, tree.nbytes) == (1, 0)
