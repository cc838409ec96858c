"""Alphabets by name, and the rules for real text."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unrolled.text import ALPHABETS, first_symbols, letter_filter, resolve_alphabet, tokenize


def test_no_name_of_an_alphabet_is_an_alphabet():
    """Each name repeats a letter, which an alphabet may not; so a name never hides an alphabet."""
    assert all(len(set(name)) < len(name) for name in ALPHABETS)


def test_named_alphabets_have_each_letter_once():
    """They are alphabets, in the order of code points or of the string module."""
    assert all(len(set(letters)) == len(letters) for letters in ALPHABETS.values())
    assert ALPHABETS["ascii"] == "".join(sorted(set(string.printable) - set(string.whitespace) | {" "}))


def test_names_are_resolved_and_letters_are_not():
    """What names no alphabet is one."""
    assert resolve_alphabet("lowercase") == string.ascii_lowercase
    assert resolve_alphabet("helo") == "helo"
    assert resolve_alphabet("") == ""


@given(st.text("ab \n", max_size=30), st.integers(1, 10))
def test_the_first_symbols_are_letters_or_words(text, count):
    """A text that is short enough is kept as it is, white space included."""
    assert first_symbols(text, count, is_sentence=False) == text[:count]
    cut = first_symbols(text, count, is_sentence=True)
    assert cut.split() == text.split()[:count]
    assert cut == text or len(text.split()) > count


@given(st.text(min_size=1, max_size=20), st.text(max_size=50))
def test_letters_outside_the_alphabet_are_left_out(alphabet, text):
    """The others stay, in their order, whatever they mean in a regular expression."""
    assert letter_filter(alphabet)(text) == "".join(letter for letter in text if letter in alphabet)


def test_an_empty_alphabet_leaves_nothing():
    """Line breaks go, too."""
    assert letter_filter("")("a\nb") == ""


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("It didn't rain.", "it did n't rain ."),
        ("He's here,\nI'm not: \N{LEFT DOUBLE QUOTATION MARK}we'll\N{RIGHT DOUBLE QUOTATION MARK}", None),
        ("Don\N{RIGHT SINGLE QUOTATION MARK}t!", "do n't !"),
        ("  \t", ""),
        ("3.5% of $10", "3 . 5 % of $ 10"),
    ],
)
def test_tokens_are_those_of_published_tables(text, tokens):
    """Punctuation marks and clitics are words, and letters are in lower case."""
    expected = "he 's here , i 'm not : \N{LEFT DOUBLE QUOTATION MARK} we 'll \N{RIGHT DOUBLE QUOTATION MARK}"
    assert tokenize(text) == (expected if tokens is None else tokens)


def test_upper_case_may_stay():
    """For tables that have it."""
    assert tokenize("New York's", lowercase=False) == "New York 's"


@given(st.text(max_size=60))
def test_tokens_are_words_that_split_returns(text):
    """So a server takes a tokenized text apart as it was put together; tokenizing again changes nothing."""
    tokens = tokenize(text)
    assert " ".join(tokens.split()) == tokens
    assert tokenize(tokens) == tokens
