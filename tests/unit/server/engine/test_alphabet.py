import string

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unrolled_server.engine.alphabet import (
    Alphabet,
    DuplicateSymbolError,
    UnknownSymbolError,
)
from unrolled_server.engine.words import EncodedWords

# Latin, Greek, CJK and emoji: tables by code point on one side, searching on the other.
alphabets = st.text(st.sampled_from("abcdeαβγ語字😀🚀\x00"), min_size=1).map(
    lambda text: "".join(dict.fromkeys(text))
)


@st.composite
def alphabets_with_words(draw: st.DrawFn) -> tuple[str, list[str]]:
    symbols = draw(alphabets)
    return symbols, draw(st.lists(st.text(symbols, min_size=1, max_size=6), min_size=1, max_size=40))


@given(alphabets_with_words())
def test_a_symbol_is_its_index_in_the_alphabet(case: tuple[str, list[str]]) -> None:
    symbols, words = case
    encoded = Alphabet.of(symbols).encode(words)
    assert encoded.codes.tolist() == [symbols.index(letter) for word in words for letter in word]
    assert encoded.codes.dtype == np.int32
    assert encoded.lengths.tolist() == [len(word) for word in words]
    assert encoded.letter_count == sum(map(len, words))
    assert encoded.max_length == max(map(len, words))


@given(alphabets_with_words(), st.data())
def test_the_first_unknown_letter_is_named_by_word_and_position(
    case: tuple[str, list[str]], data: st.DataObject
) -> None:
    symbols, words = case
    word_index = data.draw(st.integers(0, len(words) - 1))
    position = data.draw(st.integers(0, len(words[word_index])))
    symbol = data.draw(st.sampled_from("zß界\U0010ffff"))
    words[word_index] = words[word_index][:position] + symbol + words[word_index][position:]
    with pytest.raises(UnknownSymbolError) as caught:
        Alphabet.of(symbols).encode(words)
    assert caught.value.word_index == word_index
    assert f"{symbol!r} at position {position}," in str(caught.value)


@given(alphabets_with_words(), st.data())
def test_unknown_letters_may_have_the_code_after_the_last(
    case: tuple[str, list[str]], data: st.DataObject
) -> None:
    symbols, words = case
    letters = st.sampled_from(symbols + "zß界\U0010ffff")
    words += data.draw(st.lists(st.text(letters, max_size=6), max_size=5))
    encoded = Alphabet.of(symbols).encode(words, allow_unknown=True)
    codes = [symbols.find(letter) for word in words for letter in word]
    assert encoded.codes.tolist() == [len(symbols) if code < 0 else code for code in codes]
    assert encoded.lengths.tolist() == list(map(len, words))


def test_a_duplicate_symbol_is_named() -> None:
    with pytest.raises(DuplicateSymbolError, match="'b'"):
        Alphabet.of("abcb")


def test_recent_alphabets_are_cached() -> None:
    assert Alphabet.of(string.ascii_lowercase) is Alphabet.of(string.ascii_lowercase)


@given(alphabets_with_words(), st.data())
def test_a_slice_is_the_encoding_of_its_words(case: tuple[str, list[str]], data: st.DataObject) -> None:
    symbols, words = case
    start = data.draw(st.integers(0, len(words) - 1))
    stop = data.draw(st.integers(start + 1, len(words)))
    part = Alphabet.of(symbols).encode(words).part(start, stop)
    expected = Alphabet.of(symbols).encode(words[start:stop])
    assert part.codes.tolist() == expected.codes.tolist()
    assert part.lengths.tolist() == expected.lengths.tolist()
    assert part.max_length == expected.max_length


@given(st.integers(1, 5), st.integers(1, 40), st.randoms())
def test_transposing_gives_one_word_for_each_letter_position(length: int, count: int, draw: object) -> None:
    words = ["".join(draw.choices("abc", k=length)) for _ in range(count)]  # type: ignore[attr-defined]
    encoded = Alphabet.of("abc").encode(words)
    transposed = encoded.transposed()
    columns = ["".join(word[i] for word in words) for i in range(length)]
    expected = Alphabet.of("abc").encode(columns)
    assert transposed.codes.tolist() == expected.codes.tolist()
    assert transposed.lengths.tolist() == expected.lengths.tolist()


def test_words_of_different_lengths_cannot_be_transposed() -> None:
    with pytest.raises(ValueError, match="words have 1 to 2 symbols"):
        Alphabet.of("ab").encode(["a", "ab"]).transposed()


def test_joined_words_keep_the_codes_of_their_own_alphabets() -> None:
    joined = EncodedWords.joined([Alphabet.of("ab").encode(["ab"]), Alphabet.of("ba").encode(["ab"])])
    assert joined.codes.tolist() == [0, 1, 1, 0]
    assert joined.lengths.tolist() == [2, 2]
