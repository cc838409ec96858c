"""Escapes for text from outside that a terminal or a page cannot show."""

from collections.abc import Callable


def printable(text: str, *, encoding: str = "utf-8") -> str:
    r"""Returns `text` with escapes for control characters and for symbols that `encoding` lacks.

    >>> printable("a\nb")
    'a\\nb'
    >>> printable("né☃", encoding="latin-1")
    'né\\u2603'
    """
    if text.isascii() and text.isprintable():
        return text
    return escape_unless(lambda symbol: symbol.isprintable() and has(encoding, symbol), text)


def has(encoding: str, symbol: str) -> bool:
    """Returns whether an encoding has a symbol."""
    return symbol.isascii() or symbol.encode(encoding, "ignore") != b""


def escape_unless(is_shown: Callable[[str], bool], text: str) -> str:
    """Returns `text` with an escape for each symbol for which `is_shown` is false."""
    return "".join(symbol if is_shown(symbol) else ascii(symbol)[1:-1] for symbol in text)
