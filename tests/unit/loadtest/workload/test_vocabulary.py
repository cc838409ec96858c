"""Sources of words and their probabilities."""

import gzip
import os
from collections import Counter

import numpy as np
import pytest
from unrolled_client import InvalidRequestError
from unrolled_loadtest.workload.vocabulary import load_vocabulary


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "words.txt"
        path.write_bytes(text.encode())
        return path

    return write


def drawn(vocabulary, count=30_000):
    return Counter(vocabulary.draw(np.random.default_rng(0), count))


def test_the_built_in_words_are_plain_and_distinct():
    words = load_vocabulary(None, draw="uniform").words
    assert len(words) == len(set(words)) > 300
    assert all(word.isascii() and word.islower() and word.isalpha() for word in words)


def test_lines_are_equally_likely_words(write):
    found = drawn(load_vocabulary(write("\ufeffone\r\ntwo\r\n\r\nthree"), draw="uniform"))
    assert found.keys() == {"one", "two", "three"}
    assert max(found.values()) < 1.1 * min(found.values())


def test_counts_are_weights(write):
    found = drawn(load_vocabulary(write("often\t3\nseldom\t1\nnever\t0\n"), draw="frequency"))
    assert found["often"] / found["seldom"] == pytest.approx(3, rel=0.1)
    assert found["never"] == 0


def test_zipf_weights_follow_the_order_of_the_list(write):
    found = drawn(load_vocabulary(write("a\nb\nc\n"), draw="zipf"))
    assert found["a"] / found["b"] == pytest.approx(2, rel=0.1)
    assert found["a"] / found["c"] == pytest.approx(3, rel=0.1)


@pytest.mark.parametrize(
    ("text", "draw", "message"),
    [
        ("\n\n", "uniform", "has no words"),
        (
            "b\na\tb\n",
            "uniform",
            "line 2: after a tab stands 'b'; it must be a number from 0 to 1e\\+15",
        ),
        ("a\tnan\n", "frequency", "after a tab stands 'nan'"),
        ("a\tinf\n", "frequency", "after a tab stands 'inf'"),
        ("a\t-1\n", "frequency", "after a tab stands '-1'"),
        ("a\t1e300\n", "frequency", "after a tab stands '1e300'"),
        ("a\t1\tx\n", "uniform", "after a tab stands '1"),
        ("a\n\t3\n", "uniform", "line 2: .* has no word"),
        ("a\0b\0", "uniform", "line 1: .* has no word"),
        ("a\nb\n", "frequency", "has no counts to draw by"),
    ],
)
def test_an_invalid_file_is_refused(write, text, draw, message):
    with pytest.raises(InvalidRequestError, match=message):
        load_vocabulary(write(text), draw=draw)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("hello\n".encode("utf-16"), "in UTF-16; give its words as plain text in UTF-8"),
        (gzip.compress(b"hello\n"), "compressed by gzip; give its words as plain text"),
        ("plain\ncaf\xe9\n".encode("latin-1"), "no text in UTF-8: line 2 has 0xe9"),
    ],
)
def test_a_file_that_is_not_text_in_utf_8_is_refused(tmp_path, data, message):
    path = tmp_path / "words.bin"
    path.write_bytes(data)
    with pytest.raises(InvalidRequestError, match=f"--file .*words.bin is {message}"):
        load_vocabulary(path, draw="uniform")


def test_a_pipe_is_refused_because_each_process_reads_the_file(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(InvalidRequestError, match="is no regular file"):
        load_vocabulary(path, draw="uniform")


def test_windows_and_old_mac_line_ends_are_accepted(write):
    assert load_vocabulary(write("one\r\ntwo\rthree"), draw="uniform").words == ("one", "two", "three")


def test_the_built_in_words_have_no_counts():
    with pytest.raises(InvalidRequestError, match="the built-in list has no counts"):
        load_vocabulary(None, draw="frequency")
