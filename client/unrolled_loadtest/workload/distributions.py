"""Distributions of integers, as options describe them: `3`, `1-8`, `geometric:4` or `choice:2,16,256`."""

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from unrolled_client.errors import InvalidRequestError

MIN_SEED, MAX_SEED = -(2**63), 2**64 - 1  # what torch.manual_seed takes

_FIXED = re.compile(r"-?\d+")
_RANGE = re.compile(r"(-?\d+)-(-?\d+)")
_GEOMETRIC = re.compile(r"geometric:(\d+(?:\.\d+)?)")
_CHOICE = re.compile(r"choice:(-?\d+(?:,-?\d+)*)")
_INT64 = range(-(2**63), 2**63)


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """A distribution of integers."""

    text: str  # of the option
    kind: Literal["choice", "range", "geometric"]
    numbers: tuple[float, ...]  # the choices; the first and the last; or the mean, above a minimum of 1

    def draw(self, rng: np.random.Generator, count: int) -> NDArray[np.int64]:
        """Returns (count,) numbers; those from 2**63 as the int64 with the same bits, an equal seed."""
        match self.kind:
            case "choice":
                return rng.choice(np.array([_as_int64(int(number)) for number in self.numbers]), count)
            case "range":
                first, last = map(int, self.numbers)
                if last in _INT64:
                    return rng.integers(first, last, count, endpoint=True)
                offsets = (int.from_bytes(rng.bytes(16)) % (last - first + 1) for _ in range(count))
                return np.array([_as_int64(first + offset) for offset in offsets], np.int64)
            case "geometric":
                return rng.geometric(1 / self.numbers[0], count)


def parse_distribution(text: str, *, name: str, low: int = MIN_SEED, high: int = MAX_SEED) -> Distribution:
    """Returns the distribution that an option describes, of numbers from `low` to `high`.

    >>> parse_distribution("choice:2,16", name="hidden_size").numbers
    (2, 16)

    Raises:
        InvalidRequestError: The text is malformed or out of range; `name` is the option's name.
    """
    try:
        found = _parse(text)
    except ValueError:  # an int of more digits than Python reads
        found = None
    if found is None:
        raise InvalidRequestError(
            f"{name} is {text[:50]!r}; write a number, a range such as 1-8, geometric:MEAN, or "
            "choice:2,16,256"
        )
    if min(found.numbers) < low or max(found.numbers) > high:
        raise InvalidRequestError(f"{name} is {text[:60]!r}; it must be from {low:,} to {high:,}")
    return found


def _parse(text: str) -> Distribution | None:
    if _FIXED.fullmatch(text):
        return Distribution(text=text, kind="choice", numbers=(int(text),))
    if found := _CHOICE.fullmatch(text):
        return Distribution(text=text, kind="choice", numbers=tuple(map(int, found[1].split(","))))
    if found := _RANGE.fullmatch(text):
        first, last = int(found[1]), int(found[2])
        return Distribution(text=text, kind="range", numbers=(first, last)) if first <= last else None
    if (found := _GEOMETRIC.fullmatch(text)) and float(found[1]) >= 1:
        return Distribution(text=text, kind="geometric", numbers=(float(found[1]),))
    return None


def _as_int64(number: int) -> int:
    return number if number in _INT64 else number - 2**64
