"""How many, as a person writes it: `3`, `1-8`, `geometric:4` or `choice:2,16,256`.

A file of its own because words, sizes and seeds are all drawn in this way.
"""

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from unrolled_client.errors import InvalidRequestError

_FIXED = re.compile(r"-?\d+")
_RANGE = re.compile(r"(-?\d+)-(-?\d+)")
_GEOMETRIC = re.compile(r"geometric:(\d+(?:\.\d+)?)")
_CHOICE = re.compile(r"choice:(-?\d+(?:,-?\d+)*)")
_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """A number that is drawn anew for each request.

    Attributes:
        text: As it was written.
        kind: One of `numbers`, each as likely; or all from the first to the second; or 1 and more, with
            the first as their mean.
        numbers: See `kind`.
    """

    text: str
    kind: Literal["choice", "range", "geometric"]
    numbers: tuple[float, ...]

    def draw(self, rng: np.random.Generator, count: int) -> NDArray[np.int64]:
        """(count,): so many numbers."""
        match self.kind:
            case "choice":
                return rng.choice(np.array(self.numbers, np.int64), count)
            case "range":
                first, last = self.numbers
                return rng.integers(int(first), int(last), count, endpoint=True)
            case "geometric":
                return rng.geometric(1 / self.numbers[0], count)


def parse_amount(text: str, *, name: str, at_least: int | None = None) -> Amount:
    """The amount that a person wrote; `name` and `at_least` are the option's.

    >>> parse_amount("choice:2,16", name="hidden_size").numbers
    (2, 16)

    Raises:
        InvalidRequestError: It is none, or goes below `at_least`.
    """
    amount = _parsed(text)
    if amount is None or any(abs(number) > _MAX for number in amount.numbers):
        raise InvalidRequestError(
            f"{name} is {text!r}; write a number, a range such as 1-8, geometric:MEAN, or choice:2,16,256"
        )
    if at_least is not None and min(amount.numbers) < at_least:
        raise InvalidRequestError(f"{name} is {text!r}; it must be {at_least} or more")
    return amount


def _parsed(text: str) -> Amount | None:
    if _FIXED.fullmatch(text):
        return Amount(text=text, kind="choice", numbers=(int(text),))
    if found := _CHOICE.fullmatch(text):
        return Amount(text=text, kind="choice", numbers=tuple(map(int, found[1].split(","))))
    if found := _RANGE.fullmatch(text):
        first, last = int(found[1]), int(found[2])
        return Amount(text=text, kind="range", numbers=(first, last)) if first <= last else None
    if (found := _GEOMETRIC.fullmatch(text)) and float(found[1]) >= 1:
        return Amount(text=text, kind="geometric", numbers=(float(found[1]),))
    return None
