"""What stands at a sequence's positions, and how it is written."""

from unrolled_client.cli.options import NetworkFlags


def symbols(word: str, network: NetworkFlags) -> list[str]:
    """What the network reads one by one: a word's letters or, with word vectors, a sentence's words."""
    return list(word) if network.vectors is None else word.split()


def printable(text: str) -> str:
    """`text` without what would move a terminal's cursor or break a row."""
    return "".join(symbol if symbol.isprintable() else ascii(symbol)[1:-1] for symbol in text)
