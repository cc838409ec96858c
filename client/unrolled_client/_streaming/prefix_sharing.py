"""How many states words share: what the distinct form of a reply, and a part of a call, will weigh.

It is a file of its own because only calls that are large enough to choose take this look.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from unrolled_client.network import Network

_COMPARED_WORDS = 4_096


def sorted_for_sharing(words: Iterable[str], network: Network) -> list[str]:
    """The distinct words, in an order in which neighbours share what they can."""
    return sorted(set(words), key=None if network.vectors is None else str.split)


def new_state_counts(words: Sequence[str], network: Network) -> NDArray[np.int64]:
    """(words,): how many states each has beyond those of the word before.

    In a list from `sorted_for_sharing` their sum is the number of distinct states. It is an estimate: where
    words end in NUL, or sentences differ in white space alone, it may be too high.
    """
    if network.bidirectional:  # a state then depends on the whole word
        return np.fromiter(map(network.symbol_count, words), np.int64, len(words))
    counts = [_compared(words[max(at - 1, 0) : at + _COMPARED_WORDS], network) for at in _steps(len(words))]
    return np.concatenate([counts[0], *(part[1:] for part in counts[1:])])


def _steps(count: int) -> range:
    return range(0, count, _COMPARED_WORDS)


def _compared(words: Sequence[str], network: Network) -> NDArray[np.int64]:
    """The symbols of each word beyond the prefix that it shares with the word before."""
    counts = np.fromiter(map(network.symbol_count, words), np.int64, len(words))
    codes = _letter_codes(words) if network.vectors is None else _word_codes(words, seq=int(counts.max()))
    counts[1:] -= (codes[1:] != codes[:-1]).argmax(axis=1)
    return counts


def _letter_codes(words: Sequence[str]) -> NDArray[np.uint32]:
    """(words, seq): code points, 0 past a word's end."""
    return np.array(words).view(np.uint32).reshape(len(words), -1)


def _word_codes(sentences: Sequence[str], *, seq: int) -> NDArray[np.int32]:
    """(sentences, seq): a number for each distinct word, 0 past a sentence's end."""
    codes = np.zeros((len(sentences), seq), np.int32)
    code_of: dict[str, int] = {}
    for row, sentence in zip(codes, sentences, strict=True):
        words = sentence.split()
        row[: len(words)] = [code_of.setdefault(word, len(code_of) + 1) for word in words]
    return codes
