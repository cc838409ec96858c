"""All supported text formats give the same table; other files are an error with the line."""

import bz2
import gzip
import lzma
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unrolled_server.word_vectors import VectorsError, open_vectors, text_format

GLOVE = "the 0.5 -1.25 3e-2\nof 1 2 3\n"
EXPECTED = np.array([[0.5, -1.25, 0.03], [1, 2, 3]], np.float32)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(GLOVE, id="GloVe"),
        pytest.param(f"2 3\n{GLOVE}", id="word2vec by gensim"),
        pytest.param(
            "2 3\n" + GLOVE.replace("\n", " \n"), id="fastText and word2vec's own, a space at the end"
        ),
        pytest.param(GLOVE.replace("\n", "\r\n"), id="Windows' line ends"),
        pytest.param(f"2 3\r\n{GLOVE}", id="a header with a Windows line end"),
        pytest.param(f"\ufeff{GLOVE}", id="a byte order mark"),
        pytest.param(GLOVE.rstrip(), id="no line break at the end"),
        pytest.param(GLOVE.replace(" ", "\t"), id="tabs"),
        pytest.param(f"2\t3\n{GLOVE.replace(' ', chr(9))}", id="tabs, also in the header"),
        pytest.param("the\t0.5 -1.25 3e-2\nof\t1 2 3\n", id="a tab after the word"),
        pytest.param(GLOVE.replace("\n", "\t\r\n"), id="a tab at the end"),
        pytest.param(GLOVE.replace(" ", "   "), id="several spaces"),
        pytest.param(GLOVE.replace(" ", " \t"), id="spaces and tabs"),
        pytest.param("the   .5 -1.25 +.03\nof 1. 2 3e0\n", id="other ways to write numbers"),
        pytest.param(gzip.compress(GLOVE.encode()), id="gzip"),
        pytest.param(gzip.compress(b"2 3\n") + gzip.compress(GLOVE.encode()), id="gzip in two members"),
        pytest.param(bz2.compress(f"\ufeff{GLOVE}".encode()), id="bzip2"),
        pytest.param(lzma.compress(GLOVE.replace(" ", "\t").encode()), id="xz"),
    ],
)
def test_each_format_gives_the_same_table(table_of, content):
    table = table_of(content)
    assert (table.word_count, table.size) == (2, 3)
    assert table.rows.tolist() == EXPECTED.tolist()
    assert table.find(["of", "the", "The"]).tolist() == [1, 0, -1]


def test_a_word_may_have_spaces_inside(table_of):
    table = table_of("a 1 2\n. . . 3 4\nat name@domain.com 5 6\nb 7 8\n")
    assert table.find([". . .", "at name@domain.com", "b"]).tolist() == [1, 2, 3]
    assert table.rows.tolist() == [[1, 2], [3, 4], [5, 6], [7, 8]]


def test_a_first_word_with_spaces_does_not_change_the_size(table_of):
    assert table_of(". . 1 2\na 3 4\n").size == 2


def test_other_white_space_than_spaces_and_tabs_belongs_to_words(table_of):
    words = ["no\u00a0break", "next\u0085line", "line\u2028separator", "tab\tword", "\u3000", "\r"]
    table = table_of("".join(f"{word} {row} 0\n" for row, word in enumerate(words)))
    assert table.find(words).tolist() == list(range(len(words)))


@pytest.mark.parametrize("separator", [" ", "\t"])
@pytest.mark.parametrize("word", ["iphone 6", "6", "7 11 0.5", " ", "\t", "  ", "\u3000", "new york", "-.5"])
def test_with_a_header_all_text_before_the_values_is_the_word(table_of, word, separator):
    lines = [separator.join([each, "1", "2", "3"]) for each in ("the", word)]
    table = table_of("\n".join(["2 3", *lines, ""]))
    assert table.find(["the", word]).tolist() == [0, 1]
    assert table.rows.tolist() == [[1, 2, 3]] * 2


@pytest.mark.parametrize("word", [" ", "\t", "\u00a0", "new york", "6"])
def test_without_a_header_a_word_may_be_white_space_or_a_number(table_of, word):
    for lines in ([f"{word} 1 2", "the 3 4"], ["the 3 4", f"{word} 1 2"]):
        table = table_of("\n".join([*lines, ""]))
        assert table.rows[table.find([word])[0]].tolist() == [1, 2]
        assert table.size == 2


def test_words_that_no_sentence_can_contain_are_logged_once(table_of, caplog):
    table_of("a 1\nnew york 2\n\u00a0 3\nno\u00a0break 4\nnew york 5\n")
    assert caplog.text.count("3 words have white space inside or are white space; sentences are split") == 1


def test_plain_words_are_not_logged(table_of, caplog):
    table_of("a 1\n\u00fcber 2\n")
    assert not caplog.text


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            gzip.compress(b"a 1 2\n" * 99)[:-9],
            "cannot be unpacked: .*; it is damaged or was cut off: fetch it",
        ),
        (b"\x1f\x8b\x08\x00rest", "cannot be unpacked"),
        (bz2.compress(b"a 1 2\n" * 99)[:-9], "cannot be unpacked"),
        (bz2.compress(b"a 1 2\n" * 99)[:12] + bytes(60), "cannot be unpacked: Invalid data stream"),
        (lzma.compress(b"a 1 2\n" * 99)[:-40] + bytes(40), "cannot be unpacked"),
        (gzip.compress(b"a 1 2\nb 3\n"), "line 2: has 1 values"),
        (b"\x28\xb5\x2f\xfdrest", "is a zstd file; unpack it by zstd -d"),
        (b"PK\x03\x04rest", "is a zip archive; unpack it and name one of its files"),
        ("a 1 2\n".encode("utf-16"), "is UTF-16 text; convert it by iconv -f UTF-16 -t UTF-8"),
    ],
)
def test_an_unreadable_compressed_file_is_refused_with_the_reason(table_of, content, reason):
    with pytest.raises(VectorsError, match=rf"vectors\.txt.* {reason}"):
        table_of(content)


def test_a_word_may_begin_like_a_compressed_file(table_of):
    assert table_of("BZh9 1 2\n").find(["BZh9"]).tolist() == [0]


def test_zero_vectors_are_accepted(table_of):
    assert table_of("a 0 0\nb 1 1\n").rows[0].tolist() == [0, 0]


def test_the_first_line_of_a_repeated_word_counts_and_the_others_are_logged(table_of, caplog):
    table = table_of("a 1\nb 2\na 3\na 4\n")
    assert (table.word_count, table.rows.ravel().tolist(), table.mean.tolist()) == (2, [1, 2], [1.5])
    assert "2 vectors repeat a word; of each word the first counts" in caplog.text


def test_a_last_line_without_a_line_break_causes_a_warning(table_of, caplog):
    table_of("a 1\nb 2")
    assert "line 2: has no line break; if it was cut off, so is its last value" in caplog.text


MALFORMED = {
    "an empty file": (b"", 1, "the file is empty"),
    "no values": (b"word\n", 1, "is neither a word with values, as in GloVe's format, nor the header"),
    "a blank first line": (b"\na 1 2\n", 1, "has no word"),
    "a blank line": (b"a 1 2\n\nb 3 4\n", 2, "has no word"),
    "a blank line at the end": (b"a 1 2\n\n", 2, "has no word"),
    "a line without a word": (b"a 1 2\n 3 4\n", 2, "has no word"),
    "too few values": (b"a 1 2 3\nb 4 5\n", 2, "has 2 values after its word; each vector of this file has 3"),
    "too many values": (
        b"a 1 2\nb 3 4\nc 5 6 7\n",
        3,
        "has 3 values after its word; each vector of this file has 2",
    ),
    "a last line that was cut": (b"a 1 2 3\nb 4", 2, "has 1 values after its word"),
    "a word alone": (b"a 1 2 3\nb\n", 2, "has 0 values after its word"),
    "a value that is no number": (
        b"a 1 2\nb 3 x4\n",
        2,
        "value 2 is 'x4', which is no finite float32 number",
    ),
    "too few values, two spaces": (b"a 1 2 3\nb 4  5\n", 2, "has 2 values after its word"),
    "spaces alone": (b"a 1 2\n   \n", 2, "has no word"),
    "a blank before the word": (b"a 1 2\n b 3 4\n", 2, "has no word at its start"),
    "blanks before all words": (b" a 1 2\n b 3 4\n", 1, "has no word at its start"),
    "a tab before the word, with a header": (b"1 2\n\tnew york 3 4\n", 2, "has no word at its start"),
    "a tab for a word": (b"a 1 2\n\t3\t4\n", 2, "has no word"),
    "a no-break space between values": (b"a 1 2\nb\t1\xc2\xa02\t3\n", 2, "value 1 is '1\\xa02'"),
    "decimal commas": (b"a 1 2\nb 0,5 0,6\n", 2, "value 1 is '0,5', which is no finite float32 number"),
    "a phrase that ends in a number, without a header": (
        b"a 1 2\niphone 6 1 2\n",
        2,
        "each vector of this file has 2, as its first line; if words end in numbers, put a header",
    ),
    "a phrase that ends in a number as the first line, without a header": (
        b"iphone 6 1 2\na 1 2\n",
        2,
        "has 2 values after its word; each vector of this file has 3",
    ),
    "tabs, and a value too many": (b"a\t1\t2\nb\t3\t4\t5\n", 2, "has 3 values after its word"),
    "a header of a larger size": (b"1 3\nnew york 1 2\n", 2, "value 1 is 'york', which is no finite"),
    "a header of a smaller size": (
        b"2 2\na 1 2 3\nnew york 4 5 6\n",
        2,
        "and the lines below it have too many as well; the header says 2; correct the header",
    ),
    "a header of a smaller size, with tabs": (b"2 2\na\t1\t2\t3\nb\t4\t5\t6\n", 2, "the header says 2"),
    "a carriage return inside": (b"a 1 2\nb 3\r 4\n", 2, "value 1 is '3\\r', which is no finite"),
    "not a number": (b"a 1 2\nb nan 4\n", 2, "value 1 is 'nan'"),
    "infinity": (b"a 1 2\nb 3 -inf\n", 2, "value 2 is '-inf'"),
    "beyond float32": (b"a 1 2\nb 3 1e39\n", 2, "value 2 is '1e39'"),
    "a number as only Python writes it": (b"a 1 2\nb 3 1_0\n", 2, "value 2 is '1_0'"),
    "a bad number in the first line": (b"a 1 x 2 3\n", 1, "has 4 values after its word"),
    "invalid UTF-8": (b"a 1 2\nb\xff 3 4\n", 2, "byte 2 is 0xff, which is not UTF-8 text"),
    "a NUL byte": (b"a 1 2\nb\0 3 4\n", 2, "byte 2 is 0x00, which is not UTF-8 text"),
    "fewer lines than the header": (
        b"3 2\na 1 2\nb 3 4\n",
        3,
        "the file ends after 2 of the 3 vectors that its header says; it was cut off: fetch it again",
    ),
    "the header alone": (b"3 2\n", 1, "the file ends after 0 of the 3 vectors"),
    "more lines than the header": (
        b"1 2\na 1 2\nb 3 4\n",
        3,
        "one vector more than the 1 that the header says",
    ),
    "another size than the header": (
        b"1 3\na 1 2\n",
        2,
        "has 2 values after its word; each vector of this file has 3",
    ),
    "a header without vectors": (b"0 300\n", 1, "the header says 0 vectors of 300 values"),
    "a header without values": (b"7 0\n", 1, "the header says 7 vectors of 0 values"),
    "word2vec's binary format": (
        b"2 3\nthe "
        + np.float32([0.5, -1.25, 0.03]).tobytes()
        + b"\nof "
        + np.float32([1, 2, 3]).tobytes()
        + b"\n",
        2,
        "which is not UTF-8 text; a file in word2vec's binary format needs a name with the ending .bin",
    ),
}


@pytest.mark.parametrize(("content", "line", "reason"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_file_is_refused_with_file_line_and_reason(table_of, tmp_path, content, line, reason):
    with pytest.raises(
        VectorsError, match=f"^{re.escape(f'{tmp_path}/bad.vec, line {line}: ')}.*{re.escape(reason)}"
    ):
        table_of(content, "bad.vec")


def test_the_first_malformed_line_is_reported_wherever_blocks_end(table_of, monkeypatch):
    lines = [f"w{at} {at} 1" for at in range(100)]
    lines[61], lines[70] = "w61 1", "w70 \x00"
    for block_bytes in (32, 100, 1000):
        monkeypatch.setattr(text_format, "BLOCK_BYTES", block_bytes)
        with pytest.raises(VectorsError, match="line 62: has 1 values"):
            table_of("\n".join(lines))


def test_an_endless_line_is_refused_before_it_fills_the_memory(table_of, monkeypatch):
    monkeypatch.setattr(text_format, "BLOCK_BYTES", 64)
    with pytest.raises(
        VectorsError, match="line 2: is longer than 64 bytes; a file in word2vec's binary format needs a name"
    ):
        table_of("a 1 2\n" + "b" * 1000)
    with pytest.raises(VectorsError, match="line 1: is longer than 64 bytes"):
        table_of("b" * 1000)


def test_table_and_digest_do_not_depend_on_where_blocks_end(table_of, monkeypatch):
    content = "".join(f"w{at % 90} {at / 7} {at / 3}\n" for at in range(100))
    whole = table_of(content, "whole.txt")
    for block_bytes in (64, 100, 1000):
        monkeypatch.setattr(text_format, "BLOCK_BYTES", block_bytes)
        table = table_of(content, f"{block_bytes}.txt")
        assert table.digest == whole.digest
        assert table.mean.tobytes() == whole.mean.tobytes()
        assert table.rows.tobytes() == whole.rows.tobytes()


FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
NUMBERS = st.one_of(
    FLOATS.map(repr),
    FLOATS.map(lambda number: np.format_float_positional(np.float32(number), trim="0")),
    st.floats(-1e4, 1e4).map(lambda number: f"{number:.5f}"),
    st.floats(-1e30, 1e30).map(lambda number: f"{number:+.17e}"),
)
LETTERS = st.characters(exclude_categories=["Cs"], exclude_characters=" \t\n\0\ufeff")
PARTS = st.text(LETTERS, min_size=1, max_size=6)
WORDS = st.one_of(PARTS, st.tuples(PARTS, st.just(" . ")).map("".join).map(lambda word: f"{word}x"))


LAYOUTS = st.tuples(st.booleans(), st.sampled_from([" ", "\t", "  ", " \t"]))


@given(st.data(), st.lists(WORDS, min_size=1, max_size=12, unique=True), st.integers(1, 5), LAYOUTS)
def test_any_words_and_numbers_round_trip_bit_for_bit(tmp_path_factory, data, words, size, layout):
    has_header, separator = layout
    numbers = [data.draw(st.lists(NUMBERS, min_size=size, max_size=size)) for _ in words]
    lines = [f"{len(words)} {size}"] if has_header else []
    lines += [separator.join([word, *row]) for word, row in zip(words, numbers, strict=True)]
    folder = tmp_path_factory.mktemp("round_trip")
    (folder / "vectors.txt").write_bytes("".join(f"{line}\n" for line in lines).encode())
    table = open_vectors("test", folder / "vectors.txt", cache_directory=folder)
    expected = np.array([[np.float32(number) for number in row] for row in numbers])
    assert table.rows.tobytes() == expected.tobytes()
    assert table.find(words).tolist() == list(range(len(words)))
