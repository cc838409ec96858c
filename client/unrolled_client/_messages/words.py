"""Lists of words as callers have them: lists, columns and arrays, and what only looks like one.

Tables, mappings and sets are iterables too, of something else or in no order, so they are refused. Libraries
for tables are recognised by their methods and never imported.
"""

from collections.abc import AsyncIterable, Iterable, Mapping
from io import IOBase
from typing import Any

import numpy as np

from unrolled_client._messages.arguments import wrong_type

_TYPES_OF_ITEMS = {"words": str, "ints": int}
_MISSING_TYPES = {"NAType", "NaTType", "MaskedConstant"}  # of pandas and numpy, by name


def derive_alphabet(words: Iterable[str]) -> str:
    """Returns the distinct code points of all words, by first appearance.

    Raises:
        TypeError: `words` is not a list of str; see `Client.forward`.

    >>> derive_alphabet(["hello", "eolll", "lleel"])
    'helo'
    """
    return alphabet_of(as_words(words))


def alphabet_of(words: list[str]) -> str:
    """Returns the same of words that are known to be str."""
    return "".join(dict.fromkeys("".join(words)))


def as_words(words: Iterable[str], *, name: str = "words") -> list[str]:
    """Returns words given as a list, column, array or other iterable of str; `name` says where.

    Raises:
        TypeError: They are one str, bytes, a table, a mapping or a set; or one of them is missing or no str.
    """
    listed = list(words) if type(words) in {list, tuple} else as_list(name, words, items="words")
    for word in listed:
        if not isinstance(word, str):
            raise _not_a_word(name, listed)
    return listed


def as_list(name: str, values: Iterable[Any], *, items: str) -> list[Any]:
    """Returns what an argument lists; Arrow's arrays give Python's values.

    Args:
        name: The argument's.
        values: What the caller gave.
        items: What it is a list of, in the plural.

    Raises:
        TypeError: It is no iterable, or one whose items are something else or in no order.
    """
    refuse_other_iterables(name, values, items=items)
    shape = getattr(values, "shape", None)
    if isinstance(shape, tuple) and len(shape) != 1:
        raise TypeError(
            f"{name} is of type {type(values).__name__} and of shape {shape}; pass one column or a list of "
            f"{items}, such as {name}['word'] or {name}[:, 0]"
        )
    if hasattr(values, "to_pylist"):
        return list(values.to_pylist())
    return list(values)


def refuse_other_iterables(name: str, values: object, *, items: str) -> None:
    """Refuses what is no list of anything; see `as_list`, whose errors it raises."""
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
    """Returns the error for the first of the words that is no str."""
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
