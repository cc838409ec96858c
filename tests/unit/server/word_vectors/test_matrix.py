"""A matrix with a list of words, in files or in memory, gives the table of the text with the same values."""

import os
import re

import numpy as np
import pytest
from unrolled_server.word_vectors import VectorsError, matrix, open_vectors, table_in_memory

WORDS = ["the", "of", "\u00fcber"]
VALUES = np.array([[0.5, -1.25, 3e-2], [1, 2, 3], [-0.0, 1e-45, 3e38]], np.float32)
TEXT = "the 0.5 -1.25 3e-2\nof 1 2 3\n\u00fcber -0.0 1e-45 3e38\n"


@pytest.fixture
def saved(tmp_path):
    """A function that saves an array and a word list, and opens them as a table."""

    def saved(array, listed="the\nof\n\u00fcber\n"):
        np.save(tmp_path / "m.npy", array)
        (tmp_path / "m.txt").write_bytes(listed if isinstance(listed, bytes) else listed.encode())
        return open_vectors("test", tmp_path / "m.npy", cache_directory=tmp_path / "cache")

    return saved


LAYOUTS = {
    "float32": VALUES,
    "big-endian": VALUES.astype(">f4"),
    "float64": VALUES.astype(np.float64),
    "Fortran order": np.asfortranarray(VALUES),
    "a view": np.repeat(VALUES, 2, axis=1)[:, ::2],
}


@pytest.mark.parametrize("array", LAYOUTS.values(), ids=LAYOUTS)
def test_every_layout_gives_the_table_of_the_text(saved, table_of, array):
    text = table_of(TEXT)
    for table in (saved(array), table_in_memory("test", WORDS, array)):
        assert (table.digest, table.mean.tobytes()) == (text.digest, text.mean.tobytes())
        assert table.rows.tobytes() == VALUES.tobytes()
        assert (table.rows.dtype, table.rows.flags.c_contiguous) == (np.float32, True)
        assert table.find([*WORDS, "Of"]).tolist() == [0, 1, 2, -1]


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int64", "float16", "longdouble"])
def test_every_real_number_is_taken_as_float32(saved, dtype):
    values = [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    for table in (saved(np.array(values, dtype)), table_in_memory("test", WORDS, np.array(values, dtype))):
        assert table.rows.tolist() == values


@pytest.mark.parametrize(
    "listed",
    ["the\r\nof\r\n\u00fcber\r\n", "\ufeffthe\nof\n\u00fcber"],
    ids=["Windows' line ends", "a byte order mark, and no line break at the end"],
)
def test_a_word_list_may_be_written_by_any_editor(saved, listed):
    assert saved(VALUES, listed).find(WORDS).tolist() == [0, 1, 2]


def test_the_first_row_of_a_repeated_word_counts(saved, table_of, caplog):
    text = table_of("a 1\nb 2\nc 4\n")
    array = np.float32([[1], [2], [3], [4]])
    for table in (saved(array, "a\nb\na\nc\n"), table_in_memory("test", ["a", "b", "a", "c"], array)):
        assert (table.digest, table.rows.tolist()) == (text.digest, [[1], [2], [4]])
        assert table.find(["c"]).tolist() == [2]
    assert caplog.text.count("1 vectors repeat a word; of each word the first counts") == 2


def test_words_that_no_sentence_can_contain_are_logged(saved, caplog):
    saved(VALUES, "new york\n \nthe\n")
    table_in_memory("test", ["new york", " ", "the"], VALUES)
    assert caplog.text.count("2 words have white space inside or are white space; sentences are split") == 2


def test_the_table_does_not_depend_on_where_blocks_end(monkeypatch):
    values = np.random.default_rng(0).standard_normal((100, 3))
    words = [f"w{at % 90}" for at in range(100)]
    whole = table_in_memory("test", words, values)
    for block_bytes in (1, 24, 100):
        monkeypatch.setattr(matrix, "BLOCK_BYTES", block_bytes)
        table = table_in_memory("test", words, values)
        assert table.rows.tobytes() == whole.rows.tobytes()
        assert (table.digest, table.mean.tobytes()) == (whole.digest, whole.mean.tobytes())


# In memory


def test_a_float32_matrix_is_used_without_a_copy_and_stays_writable():
    table = table_in_memory("test", WORDS, VALUES)
    assert np.shares_memory(table.rows, VALUES)
    assert (table.rows.flags.writeable, VALUES.flags.writeable) == (False, True)


def test_words_and_matrix_may_be_of_any_kind():
    plain = table_in_memory("test", WORDS, VALUES)
    for words, values in (
        (iter(WORDS), VALUES.tolist()),
        (np.array(WORDS), VALUES),
        (dict.fromkeys(WORDS), VALUES),
    ):
        assert table_in_memory("test", words, values).digest == plain.digest


WRONG = {
    "a word too few": (WORDS[:2], VALUES, "there are 2 words for 3 rows; give one word for each row"),
    "a word too many": ([*WORDS, "x"], VALUES, "there are 4 words for 3 rows"),
    "one dimension": (WORDS, VALUES[0], "the matrix has shape (3,) and dtype float32; give real numbers"),
    "three dimensions": (WORDS, VALUES[None], "the matrix has shape (1, 3, 3)"),
    "no rows": ([], VALUES[:0], "the matrix has shape (0, 3)"),
    "no values": (WORDS, VALUES[:, :0], "the matrix has shape (3, 0)"),
    "complex": (WORDS, VALUES.astype(complex), "dtype complex128; give real numbers, with one row for each"),
    "booleans": (WORDS, VALUES > 0, "dtype bool"),
    "texts": (WORDS, VALUES.astype(str), "dtype <U"),
    "objects": (WORDS, VALUES.astype(object), "dtype object"),
    "not a number": (
        WORDS,
        np.where(VALUES == 2, np.nan, VALUES),
        "row 1 ('of') has nan at position 1, which is no finite float32 number; correct it, or drop the row",
    ),
    "beyond float32": (WORDS, VALUES.astype(float) * 10, "row 2 ('\u00fcber') has 3.0000000"),
}


@pytest.mark.parametrize(("words", "values", "reason"), WRONG.values(), ids=WRONG)
def test_what_is_no_matrix_of_words_is_refused(tmp_path, words, values, reason):
    with pytest.raises(ValueError, match=f"^vectors 'test': .*{re.escape(reason)}"):
        table_in_memory("test", words, values)
    np.save(tmp_path / "m.npy", values)
    (tmp_path / "m.txt").write_text("".join(f"{word}\n" for word in words))
    with pytest.raises(VectorsError, match=f"^{re.escape(str(tmp_path))}/m.npy.*"):
        open_vectors("test", tmp_path / "m.npy", cache_directory=tmp_path / "cache")


@pytest.mark.parametrize("word", ["", "a\nb", "a\0", "\ud800"])
def test_a_word_that_no_file_can_hold_is_refused(word):
    with pytest.raises(
        ValueError, match=r"^vectors 'test': word 2 is .*; a word is not empty and has no line"
    ):
        table_in_memory("test", ["the", "of", word], VALUES)


@pytest.mark.parametrize("word", [b"the", 1, None])
def test_a_word_that_is_no_text_is_a_type_error(word):
    with pytest.raises(TypeError, match=r"^vectors 'test': word 2 is .*, of type \w+; words are str"):
        table_in_memory("test", ["the", "of", word], VALUES)


def test_rows_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match=r"^vectors 'test': .*inhomogeneous"):
        table_in_memory("test", ["a", "b"], [[1], [2, 3]])


# Files


@pytest.mark.parametrize(
    ("listed", "reason"),
    [
        ("the\n\n\u00fcber\n", "m.txt, line 2: is empty; each line has the word of one row"),
        ("the\nof\n\u00fcber\n\n", "m.txt, line 4: is empty"),
        (b"the\na\xff\nx\n", "m.txt, line 2: byte 2 is 0xff, which is not UTF-8 text; save it as UTF-8"),
        (b"the\na\0\nx\n", "m.txt, line 2: byte 2 is 0x00"),
        (TEXT, "m.txt, line 1: has a word and its values; give this file itself, or words alone"),
    ],
)
def test_a_malformed_word_list_is_refused_with_its_line(saved, tmp_path, listed, reason):
    with pytest.raises(VectorsError, match=f"^{re.escape(str(tmp_path))}/{re.escape(reason)}"):
        saved(VALUES, listed)


def test_a_missing_word_list_is_an_error_that_describes_it(tmp_path):
    np.save(tmp_path / "m.npy", VALUES)
    reason = (
        f"{tmp_path}/m.txt cannot be read: No such file or directory; it must list the words of {tmp_path}/m"
    )
    with pytest.raises(VectorsError, match=f"^{re.escape(reason)}"):
        open_vectors("test", tmp_path / "m.npy", cache_directory=tmp_path)


def test_a_word_list_that_cannot_be_read_is_an_error(tmp_path):
    np.save(tmp_path / "m.npy", VALUES)
    (tmp_path / "m.txt").mkdir()
    with pytest.raises(VectorsError, match=r"m\.txt cannot be read: Is a directory"):
        open_vectors("test", tmp_path / "m.npy", cache_directory=tmp_path / "cache")


def test_a_file_that_is_cut_off_anywhere_is_refused(saved, tmp_path):
    saved(VALUES)
    content = (tmp_path / "m.npy").read_bytes()
    for length in range(len(content)):
        (tmp_path / "m.npy").write_bytes(content[:length])
        with pytest.raises(VectorsError, match=r"m\.npy is not a whole \.npy file of numbers: .*numpy\.save"):
            open_vectors("test", tmp_path / "m.npy", cache_directory=tmp_path / "cache")


def test_an_array_of_objects_is_not_unpickled(saved):
    with pytest.raises(VectorsError, match=r"is not a whole \.npy file of numbers"):
        saved(np.array([[print]], object))


def test_an_array_by_another_name_is_refused(table_of, saved, tmp_path):
    saved(VALUES)
    with pytest.raises(
        VectorsError, match=r"is an array of numpy; name it X\.npy, and the list of its words"
    ):
        table_of((tmp_path / "m.npy").read_bytes(), "array.vec")


@pytest.mark.parametrize("name", ["m.npy", "m.txt"])
def test_a_change_of_either_file_converts_again(saved, tmp_path, name):
    before = saved(VALUES)
    if name == "m.npy":
        np.save(tmp_path / name, VALUES[::-1])
    else:
        (tmp_path / name).write_text("cat\nof\nsat\n")
    os.utime(tmp_path / name, ns=(1, 1))
    table = open_vectors("test", tmp_path / "m.npy", cache_directory=tmp_path / "cache")
    assert table.digest != before.digest
    (folder,) = (tmp_path / "cache").glob("*.table")
    made = folder.stat().st_ino
    open_vectors("test", tmp_path / "m.npy", cache_directory=tmp_path / "cache")
    assert folder.stat().st_ino == made
