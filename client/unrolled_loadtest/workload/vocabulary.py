"""Words of requests, from a file or the built-in list, and their probabilities."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from unrolled_client.errors import InvalidRequestError

from unrolled_loadtest.workload.plan import Draw

_MAX_WEIGHT = 1e15
_OTHER_KINDS = {b"\x1f\x8b": "compressed by gzip", b"\xff\xfe": "in UTF-16", b"\xfe\xff": "in UTF-16"}

_BUILT_IN = Path(__file__).with_name("words.txt")
"""Everyday English words, roughly by frequency."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """Distinct words and their probabilities; None if all words are as likely."""

    words: tuple[str, ...]
    weights: NDArray[np.float64] | None

    def draw(self, rng: np.random.Generator, count: int) -> list[str]:
        """Returns `count` words, with repetition."""
        places = rng.choice(len(self.words), count, p=self.weights)
        return [self.words[at] for at in places.tolist()]


def load_vocabulary(path: Path | None, *, draw: Draw) -> Vocabulary:
    """Returns the words of a file, or of the built-in list.

    Raises:
        InvalidRequestError: The file cannot be read, is no text in UTF-8, has no words, has a line without a
            word or with a malformed count, or has no counts and words are to be drawn by them.
    """
    name = "the built-in list" if path is None else f"--file {path}"
    counts = _count(_lines(path or _BUILT_IN, name=name), name=name)
    if not counts:
        raise InvalidRequestError(f"{name} has no words; write one a line, or WORD TAB COUNT")
    numbers = np.array(list(counts.values()))
    if draw == "frequency" and (path is None or not (numbers > 0).any()):
        raise InvalidRequestError(f"{name} has no counts to draw by; write WORD TAB COUNT in each line")
    weights = {
        "uniform": None,
        "frequency": numbers / numbers.sum() if draw == "frequency" else None,
        "zipf": _zipf(len(counts)),
    }[draw]
    return Vocabulary(words=tuple(counts), weights=weights)


def _lines(path: Path, *, name: str) -> list[str]:
    """Returns the lines of a file, with any line endings."""
    if path.exists() and not path.is_file():
        raise InvalidRequestError(f"{name} is no regular file, which every process of the generator can read")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidRequestError(f"{name} cannot be read: {error.strerror}") from None
    for start, kind in _OTHER_KINDS.items():
        if data.startswith(start):
            raise InvalidRequestError(f"{name} is {kind}; give its words as plain text in UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidRequestError(
            f"{name} is no text in UTF-8: line {line} has {error.object[error.start]:#x}"
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _count(lines: Iterable[str], *, name: str) -> dict[str, float]:
    """Returns each word's count, 0 where the line has none, and skips empty lines."""
    counts: dict[str, float] = {}
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        word, _, count = line.partition("\t")
        if not word or "\0" in word:
            raise InvalidRequestError(
                f"{name}, line {number}: {line[:60]!r} has no word; write WORD TAB COUNT"
            )
        counts[word] = counts.get(word, 0.0) + _number(count, where=f"{name}, line {number}")
    return counts


def _number(text: str, *, where: str) -> float:
    try:
        number = float(text or 0)
    except ValueError:
        number = math.nan
    if not 0 <= number <= _MAX_WEIGHT:
        raise InvalidRequestError(
            f"{where}: after a tab stands {text[:40]!r}; it must be a number from 0 to {_MAX_WEIGHT:g}"
        )
    return number


def _zipf(count: int) -> NDArray[np.float64]:
    """Returns probabilities proportional to 1/n for the word at place n."""
    weights = 1 / np.arange(1, count + 1)
    return np.asarray(weights / weights.sum())
