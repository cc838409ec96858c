"""The words that requests are drawn from: a file's, or the built-in list's."""

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

# Everyday words of English, the more usual ones first, about.
_BUILT_IN = """
the of and to a in that is was he for it with as his on be at by had not are but from or have an they which
one you were her all she there would their we him been has when who will more no if out so said what up its
about into than them can only other new some could time these two may then do first any my now such like our
over man me even most made after also did many before must through back years where much your way well down
should because each just those people how too little state good very make world still own see men work long
get here between both life being under never day same another know while last might us great old year off
come since against go came right used take three house use place small part found water hand high home night
head left side end turn word every school thought far eyes always light public fact number city system
better set four later young white large given social several kind case order open next early often group
point almost until body door room name face less mind best though ground line seemed table means second
money whole done looking feet free heart answer paper river mountain letter winter summer garden window
morning evening village bridge station journey machine engine weather kitchen language library teacher
student farmer doctor captain soldier sailor writer reader painter singer baker butcher carpenter market
harbour island forest valley meadow desert ocean thunder lightning rainbow shadow silence whisper laughter
courage freedom justice knowledge wisdom patience kindness promise mystery adventure secret treasure castle
kingdom dragon wizard lantern candle feather pebble marble copper silver golden crystal velvet cotton
leather wooden broken hidden frozen gentle bitter clever hungry thirsty sleepy cheerful careful quiet narrow
crooked distant ancient modern foreign familiar ordinary peculiar remarkable unexpected extraordinary
understanding responsibility communication characteristic transportation
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """Words, and how likely each is.

    Attributes:
        words: Each once.
        weights: (words,), which sum to 1; None where each is as likely.
    """

    words: tuple[str, ...]
    weights: NDArray[np.float64] | None

    def draw(self, rng: np.random.Generator, count: int) -> list[str]:
        """So many words; one may come again."""
        places = rng.choice(len(self.words), count, p=self.weights)
        return [self.words[at] for at in places.tolist()]


def load_vocabulary(path: Path | None, *, draw: Draw) -> Vocabulary:
    """Returns the words of a file, or of the built-in list.

    Raises:
        InvalidRequestError: The file is no text in UTF-8, has a line without a word or with something else
            than a count after it, has no words at all, or no counts where words are drawn by those.
        OSError: The file cannot be read.
    """
    name = "the built-in list" if path is None else f"--file {path}"
    counts = _count(_BUILT_IN.split() if path is None else _lines(path, name=name), name=name)
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
    """Returns the lines of a file, whichever way they end."""
    if path.exists() and not path.is_file():
        raise InvalidRequestError(f"{name} is no regular file, which every process of the generator can read")
    data = path.read_bytes()
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
    """Returns each word's count; 0 where the line has none. Empty lines are left out."""
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
    """The word at place n is as likely as 1/n, to the first one's 1."""
    weights = 1 / np.arange(1, count + 1)
    return np.asarray(weights / weights.sum())
