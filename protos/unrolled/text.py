"""Rules for real text that the SDK and the corpus job share: alphabets by name, tokens, parts left out."""

import re
import string
from collections.abc import Callable
from functools import lru_cache

ALPHABETS = {
    "ascii": "".join(map(chr, range(ord(" "), ord("~") + 1))),
    "letters": string.ascii_letters,
    "lowercase": string.ascii_lowercase,
    "uppercase": string.ascii_uppercase,
    "digits": string.digits,
}
"""Alphabets by name: the printable ASCII characters from space to tilde, and parts of them.

Every name has a letter twice, so none is an alphabet itself.
"""

# As in the tables that GloVe and fastText publish: punctuation marks are words, "didn't" is "did" and "n't".
_TOKEN = re.compile(r"\w+?(?=n't\b)|n't\b|'(?:s|m|d|re|ve|ll)\b|\w+|[^\w\s]")
_CURLY_APOSTROPHE = "\N{RIGHT SINGLE QUOTATION MARK}"


def resolve_alphabet(alphabet: str) -> str:
    """Returns the letters of a named alphabet, and any other text as it is."""
    return ALPHABETS.get(alphabet, alphabet)


@lru_cache(maxsize=32)
def letter_filter(alphabet: str) -> Callable[[str], str]:
    """Returns a function that leaves out a text's letters that are not in the alphabet.

    >>> letter_filter("helo")("hello, Joe")
    'helloo'
    """
    unknown = re.compile(f"[^{re.escape(alphabet)}]+") if alphabet else re.compile(".+", re.DOTALL)
    return lambda text: unknown.sub("", text)


def first_symbols(text: str, count: int, *, is_sentence: bool) -> str:
    """Returns a text of at most `count` symbols as it is, and the first ones of a longer text.

    >>> first_symbols("hello", 4, is_sentence=False), first_symbols("it  did rain", 2, is_sentence=True)
    ('hell', 'it did')
    """
    if not is_sentence:
        return text[:count]
    words = text.split(maxsplit=count)
    return text if len(words) <= count else " ".join(words[:count])


def tokenize(text: str, *, lowercase: bool = True) -> str:
    """Returns the text's words and punctuation marks, separated by spaces, as most word vectors have them.

    Clitics are words: "didn't" becomes "did n't". Published tables of GloVe and fastText have them so, and
    GloVe's are in lower case; for word2vec's table of news pass lowercase=False.

    >>> tokenize("It didn't rain.")
    "it did n't rain ."
    """
    text = text.replace(_CURLY_APOSTROPHE, "'")
    return " ".join(_TOKEN.findall(text.lower() if lowercase else text))
