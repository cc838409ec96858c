"""Checks lists of words: lists, columns and arrays are accepted; tables, mappings and sets are not.

Table libraries are recognised by their methods and never imported.
"""

from collections.abc import AsyncIterable, Iterable, Mapping
from io import IOBase
from typing import Any

import numpy as np

from unrolled_client._messages.arguments import invalid, wrong_type

_TYPES_OF_ITEMS = {"words": str, "ints": int}
_MISSING_TYPES = {"NAType", "NaTType", "MaskedConstant"}  # of pandas and numpy, by name


def derive_alphabet(words: Iterable[str]) -> str:
    """Returns the distinct code points of all words, in order of first appearance.

    >>> derive_alphabet(["hello", "eolll", "lleel"])
    'helo'
    """
    return alphabet_of(as_words(words))


def alphabet_of(words: list[str]) -> str:
    """Returns what `derive_alphabet` does, without checking the words."""
    return "".join(dict.fromkeys("".join(words)))


def as_words(words: Iterable[str], *, name: str = "words") -> list[str]:
    """Returns the words of a list, column, array or other iterable of str, which is the argument `name`."""
    listed = list(words) if type(words) in {list, tuple} else as_list(name, words, items="words")
    for word in listed:
        if not isinstance(word, str):
            raise _not_a_word(name, listed)
    return listed


def as_list(name: str, values: Iterable[Any], *, items: str) -> list[Any]:
    """Returns the values of the argument `name`, an ordered iterable of `items` ("words" or "ints")."""
    refuse_other_iterables(name, values, items=items)
    shape = getattr(values, "shape", None)
    if isinstance(shape, tuple) and len(shape) != 1:
        raise TypeError(
            f"{name} is of type {type(values).__name__} and of shape {shape}; pass one column or a list of "
            f"{items}, such as {name}['word'] or {name}[:, 0]"
        )
    return list(values.to_pylist() if hasattr(values, "to_pylist") else values)


def refuse_other_iterables(name: str, values: object, *, items: str) -> None:
    """Raises TypeError for values that are not an ordered iterable of items."""
    remedy = f"pass a list of {items}"
    if isinstance(values, str | bytes | bytearray | memoryview | int):
        is_item = isinstance(values, _TYPES_OF_ITEMS.get(items, ()))
        example = f", such as [{values!r:.40}]" if is_item else ""
        raise TypeError(f"{name} is one {type(values).__name__}; {remedy}{example}")
    kind = f"{name} is of type {type(values).__name__}"
    if isinstance(values, Mapping):
        raise TypeError(f"{kind}; {remedy}, such as list({name}.values())")
    if isinstance(values, set | frozenset):
        raise TypeError(f"{kind}, whose order differs from run to run; {remedy}, such as sorted({name})")
    if isinstance(values, IOBase):
        raise TypeError(
            f"{kind}, whose lines end with line breaks; {remedy}, such as file.read().splitlines()"
        )
    if isinstance(values, AsyncIterable):
        raise TypeError(f"{kind}, which only AsyncClient.map takes, for batches; {remedy}")
    try:
        iter(values)  # type: ignore[call-overload]
    except TypeError:
        raise wrong_type(name, values, remedy) from None


def _not_a_word(name: str, words: list[Any]) -> TypeError:
    """Returns the error for the first word that is not a str."""
    at, word = next((at, word) for at, word in enumerate(words) if not isinstance(word, str))
    name = f"{name}[{at}]"
    if _is_missing(word):
        return TypeError(
            f"{name} is missing ({word!r}); drop missing words, for example with dropna(), or put a word in "
            "their place"
        )
    if isinstance(word, bytes):
        return wrong_type(name, word, "every word is a str; decode it, such as word.decode()")
    return wrong_type(name, word, "every word is a str")


def _is_missing(value: Any) -> bool:
    if isinstance(value, float | np.floating):
        return bool(value != value)  # noqa: PLR0124 - NaN, and nothing else
    is_null = getattr(value, "is_valid", None) is False  # one of Arrow's scalars
    return value is None or is_null or type(value).__name__ in _MISSING_TYPES


def refuse_surrogates(words: list[str], alphabet: str) -> None:
    """Refuses texts with a lone surrogate, which UTF-8 and so the wire cannot carry."""
    try:
        "".join([*words, alphabet]).encode()
    except UnicodeEncodeError:
        named = [*((f"words[{at}]", word) for at, word in enumerate(words)), ("alphabet", alphabet)]
        name, text = next(one for one in named if any("\ud800" <= symbol <= "\udfff" for symbol in one[1]))
        message = f"{name} is {text!r}: a lone surrogate is no character; decode the text anew"
        raise invalid(name, message) from None
