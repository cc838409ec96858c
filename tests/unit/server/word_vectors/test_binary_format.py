"""word2vec's binary format gives the table of the text with the same words; other files are an error."""

import gzip
import re

import numpy as np
import pytest
from gensim.models import KeyedVectors
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from unrolled_server.word_vectors import VectorsError, binary_format, open_vectors, table_in_memory

WORDS = ["the", "of", "\u00fcber"]
VALUES = np.array([[0.5, -1.25, 3e-2], [1, 2, 3], [-0.0, 1e-45, 3e38]], np.float32)


def encoded(words=WORDS, values=VALUES, *, line_break=b"\n", header=None):
    """A file as word2vec writes it; gensim writes no line breaks."""
    header = header or f"{len(words)} {values.shape[1]}\n".encode()
    records = [
        (word if isinstance(word, bytes) else word.encode()) + b" " + row.tobytes() + line_break
        for word, row in zip(words, values, strict=True)
    ]
    return header + b"".join(records)


@pytest.mark.parametrize(
    ("content", "file_name"),
    [
        (encoded(), "word2vec.bin"),
        (encoded(line_break=b""), "gensim.bin"),
        (encoded(header=b"3 3\r\n"), "Windows.BIN"),
        (gzip.compress(encoded()), "compressed.bin.gz"),
        (gzip.compress(encoded()), "compressed.bin"),
    ],
)
def test_each_form_gives_the_table_of_the_same_words_in_memory(table_of, content, file_name):
    table = table_of(content, file_name)
    assert table.rows.tobytes() == VALUES.tobytes()
    assert table.find([*WORDS, "The"]).tolist() == [0, 1, 2, -1]
    assert table.digest == table_in_memory("test", WORDS, VALUES).digest


TEXT = st.characters(exclude_categories=["Cs"], exclude_characters=" \n\0")
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.data(), st.lists(st.text(TEXT, min_size=1), min_size=1, max_size=9, unique=True), st.integers(1, 5))
def test_what_gensim_writes_round_trips_bit_for_bit(tmp_path_factory, data, words, size):
    values = data.draw(arrays(np.float32, (len(words), size), elements=FLOATS))
    vectors = KeyedVectors(size)
    vectors.add_vectors(words, values)
    folder = tmp_path_factory.mktemp("round_trip")
    ending = data.draw(st.sampled_from(["bin", "bin.gz"]))
    vectors.save_word2vec_format(str(folder / f"v.{ending}"), binary=True)
    table = open_vectors("test", folder / f"v.{ending}", cache_directory=folder)
    assert table.rows.tobytes() == values.tobytes()
    assert table.find(words).tolist() == list(range(len(words)))
    assert table.digest == table_in_memory("test", words, values).digest


@pytest.mark.parametrize("line_break", [b"", b"\n"])
@pytest.mark.parametrize("block_bytes", [7, 1 << 20])
def test_a_file_that_is_cut_off_anywhere_is_refused(table_of, monkeypatch, line_break, block_bytes):
    monkeypatch.setattr(binary_format, "BLOCK_BYTES", block_bytes)
    content = encoded(line_break=line_break)
    for length in range(len(content) - len(line_break)):
        with pytest.raises(VectorsError, match=r"cut\.bin.*(cut off: fetch it again|line COUNT SIZE)"):
            table_of(content[:length], "cut.bin")
    assert table_of(content[: len(content) - len(line_break)], "cut.bin").word_count == len(WORDS)


def test_a_compressed_file_that_is_cut_off_anywhere_is_refused(table_of):
    content = gzip.compress(encoded())
    for length in range(len(content)):
        with pytest.raises(VectorsError, match=r"cut\.bin"):
            table_of(content[:length], "cut.bin")


MALFORMED = {
    "text": (b"the 0.5 -1.25\n", " does not begin with a line COUNT SIZE"),
    "text with a header": (
        b"2 2\nthe 0.5 -1.25\nof 1 2\n",
        " ends after 1 of the 2 vectors that its header says; it was cut off: fetch it again, or it is a",
    ),
    "no vectors": (b"0 3\n", ": the header says 0 vectors of 3 values"),
    "no values": (b"3 0\n", ": the header says 3 vectors of 0 values"),
    "a huge size": (b"3 1048577\n", "there must be vectors of 1 to 1048576 values"),
    "more vectors than the header": (
        encoded(header=b"2 3\n"),
        " goes on after the 2 vectors that its header says; correct the header",
    ),
    "fewer vectors than the header": (
        encoded(header=b"4 3\n"),
        " ends after 3 of the 4 vectors that its header says; it was cut off: fetch it again",
    ),
    "a smaller size than the header": (encoded(header=b"3 2\n"), ", vector 2: "),
    "a larger size than the header": (encoded(header=b"3 4\n"), " ends after "),
    "an empty word": (encoded(["the", "", "x"]), ", vector 2: has the word b'', empty or with a line break"),
    "a line break in a word": (encoded(["the", "a\nb", "x"]), ", vector 2: has the word b'a\\nb', empty or"),
    "a NUL in a word": (encoded(["the", "a\0b", "x"]), ", vector 2: byte 2 of its word is 0x00"),
    "invalid UTF-8": (
        encoded(["the", "of", b"a\xffb"]),
        ", vector 3: byte 2 of its word is 0xff, which is not UTF-8 text; if only words are damaged, repair",
    ),
    "not finite": (
        encoded(values=np.float32([[1], [2], [np.inf]])),
        ", vector 3: '\u00fcber', value 1 is inf, which is no finite number",
    ),
    "an endless word": (b"1 1\n" + b"x" * 70_000, ", vector 1: has no blank after its word within 65536"),
    "a model of fastText": (b"\xba\x16\x4f\x2f\x0c\0\0\0", " is a model of fastText; give its .vec file"),
}


@pytest.mark.parametrize(("content", "reason"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_file_is_refused_with_place_and_reason(table_of, tmp_path, content, reason):
    with pytest.raises(VectorsError, match=f"^{re.escape(f'{tmp_path}/bad.bin')}.*{re.escape(reason)}"):
        table_of(content, "bad.bin")


def test_the_table_does_not_depend_on_where_blocks_end(table_of, monkeypatch):
    values = np.random.default_rng(0).standard_normal((100, 3)).astype(np.float32)
    content = encoded([f"w{at % 90}" for at in range(100)], values)
    whole = table_of(content, "whole.bin")
    assert whole.word_count == 90
    for block_bytes in (1, 13, 100):
        monkeypatch.setattr(binary_format, "BLOCK_BYTES", block_bytes)
        table = table_of(content, f"{block_bytes}.bin")
        assert (table.digest, table.mean.tobytes()) == (whole.digest, whole.mean.tobytes())
