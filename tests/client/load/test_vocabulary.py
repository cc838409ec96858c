"""Where words come from, and how likely each is."""

from collections import Counter

import numpy as np
import pytest
from unrolled_client import InvalidRequestError
from unrolled_client.load.vocabulary import load_vocabulary


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "words.txt"
        path.write_bytes(text.encode())
        return path

    return write


def drawn(vocabulary, count=30_000):
    return Counter(vocabulary.draw(np.random.default_rng(0), count))


def test_the_built_in_words_are_plain_and_each_is_there_once():
    words = load_vocabulary(None, draw="uniform").words
    assert len(words) == len(set(words)) > 300
    assert all(word.isascii() and word.islower() and word.isalpha() for word in words)


def test_lines_are_words_and_each_is_as_likely(write):
    found = drawn(load_vocabulary(write("\ufeffone\r\ntwo\r\n\r\nthree"), draw="uniform"))
    assert found.keys() == {"one", "two", "three"}
    assert max(found.values()) < 1.1 * min(found.values())


def test_counts_say_how_likely_a_word_is(write):
    found = drawn(load_vocabulary(write("often\t3\nseldom\t1\nnever\t0\n"), draw="frequency"))
    assert found["often"] / found["seldom"] == pytest.approx(3, rel=0.1)
    assert found["never"] == 0


def test_zipf_goes_by_the_place_in_the_list(write):
    found = drawn(load_vocabulary(write("a\nb\nc\n"), draw="zipf"))
    assert found["a"] / found["b"] == pytest.approx(2, rel=0.1)
    assert found["a"] / found["c"] == pytest.approx(3, rel=0.1)


@pytest.mark.parametrize(
    ("text", "draw", "message"),
    [
        ("\n\n", "uniform", "has no words"),
        ("a\tb\n", "uniform", "what stands after a tab must be a number"),
        ("a\nb\n", "frequency", "has no counts to draw by"),
    ],
)
def test_a_file_that_will_not_do_is_refused(write, text, draw, message):
    with pytest.raises(InvalidRequestError, match=message):
        load_vocabulary(write(text), draw=draw)


def test_a_file_that_is_not_text_is_refused(tmp_path):
    path = tmp_path / "words.bin"
    path.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(InvalidRequestError, match="cannot read"):
        load_vocabulary(path, draw="uniform")


def test_the_built_in_words_have_no_counts():
    with pytest.raises(InvalidRequestError, match="the built-in list has no counts"):
        load_vocabulary(None, draw="frequency")
