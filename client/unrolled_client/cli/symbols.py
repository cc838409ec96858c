"""What stands at a sequence's positions."""

from unrolled_client.cli.options import NetworkFlags


def symbols(word: str, network: NetworkFlags) -> list[str]:
    """What the network reads one by one: a word's letters or, with word vectors, a sentence's words."""
    return list(word) if network.vectors is None else word.split()
