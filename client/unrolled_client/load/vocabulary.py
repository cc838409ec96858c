"""The words that requests are drawn from: a file's, or a list that needs none.

A file of its own because it is the one place that reads such files.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unrolled_client.errors import InvalidRequestError
from unrolled_client.load.plan import Draw

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
    """The words of a file, or of the built-in list.

    Raises:
        InvalidRequestError: There are none, or no counts where words are drawn by those.
        OSError: The file cannot be read.
    """
    name = "the built-in list" if path is None else str(path)
    counts = _count(_BUILT_IN.split() if path is None else _lines(path), name=name)
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


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidRequestError(f"cannot read {path}: {error}") from None
    return [line for line in text.split("\n") if line]


def _count(lines: Iterable[str], *, name: str) -> dict[str, float]:
    """Each word's count; 0 where the line has none."""
    counts: dict[str, float] = {}
    for line in lines:
        word, _, count = line.partition("\t")
        try:
            counts[word] = counts.get(word, 0.0) + (float(count) if count else 0.0)
        except ValueError:
            raise InvalidRequestError(
                f"{name} has the line {line!r:.60}; what stands after a tab must be a number"
            ) from None
    return counts


def _zipf(count: int) -> NDArray[np.float64]:
    """The word at place n is as likely as 1/n, to the first one's 1."""
    weights = 1 / np.arange(1, count + 1)
    return np.asarray(weights / weights.sum())
