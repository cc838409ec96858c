"""Estimates how many states words share: those of their common prefixes."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from unrolled_client.network import Network

_COMPARED_WORDS = 4_096


def sorted_for_sharing(words: Iterable[str], network: Network) -> list[str]:
    """Returns the distinct words in the order in which neighbours share most."""
    return sorted(set(words), key=None if network.vectors is None else str.split)


def new_state_counts(words: Sequence[str], network: Network) -> NDArray[np.int64]:
    """Returns how many states each word has beyond those of the word before, (words,).

    For words from `sorted_for_sharing` their sum is the number of distinct states, or more if words end in
    NUL or sentences differ only in white space.
    """
    if network.bidirectional:  # whose states depend on the whole word
        return np.fromiter(map(network.symbol_count, words), np.int64, len(words))
    counts = [_compared(words[max(at - 1, 0) : at + _COMPARED_WORDS], network) for at in _steps(len(words))]
    return np.concatenate([counts[0], *(part[1:] for part in counts[1:])])


def _steps(count: int) -> range:
    return range(0, count, _COMPARED_WORDS)


def _compared(words: Sequence[str], network: Network) -> NDArray[np.int64]:
    """Returns the symbols of each word beyond the prefix that it shares with the word before."""
    counts = np.fromiter(map(network.symbol_count, words), np.int64, len(words))
    codes = _letter_codes(words) if network.vectors is None else _word_codes(words, seq=int(counts.max()))
    counts[1:] -= (codes[1:] != codes[:-1]).argmax(axis=1)
    return counts


def _letter_codes(words: Sequence[str]) -> NDArray[np.uint32]:
    """Returns code points, 0 past a word's end: (words, seq)."""
    return np.array(words).view(np.uint32).reshape(len(words), -1)


def _word_codes(sentences: Sequence[str], *, seq: int) -> NDArray[np.int32]:
    """Returns a number for each distinct word, 0 past a sentence's end: (sentences, seq)."""
    codes = np.zeros((len(sentences), seq), np.int32)
    code_of: dict[str, int] = {}
    for row, sentence in zip(codes, sentences, strict=True):
        words = sentence.split()
        row[: len(words)] = [code_of.setdefault(word, len(code_of) + 1) for word in words]
    return codes
