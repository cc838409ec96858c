"""Text of others that a terminal or a page can show; a file of its own because the commands share it."""


def printable(text: str) -> str:
    r"""`text` without what would move a terminal's cursor or break a row.

    >>> printable("a\nb")
    'a\\nb'
    """
    return "".join(symbol if symbol.isprintable() else ascii(symbol)[1:-1] for symbol in text)
