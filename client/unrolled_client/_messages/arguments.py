"""Checks of single arguments, and the errors that name the argument, its value and the remedy.

A bool is Python's, numpy's, or 0 or 1; an int is whatever `operator.index` takes; a number is any real number
but a bool. Text never stands for one of them. None, which is the default, is the caller's to replace.
"""

import math
import operator
from collections.abc import Callable, Collection
from numbers import Real
from typing import Any

import numpy as np

from unrolled_client.errors import FieldViolation, InvalidRequestError

_INT32_RANGE = (-(2**31), 2**31 - 1)
_SEED_RANGE = (-(2**63), 2**64 - 1)
"""What torch.manual_seed takes; it reads a seed as 64 bits, whose sign does not matter."""
_SHOWN_LETTERS = 40


def as_bool(name: str, value: object, *, default: bool | None = None) -> bool:
    """Returns a bool given as True, False, numpy's, 1 or 0; or the default, if there is one, for None.

    Raises:
        TypeError: It is anything else, such as the text "False", which Python takes as true.
    """
    if value is None and default is not None:
        return default
    if isinstance(value, bool | np.bool_):
        return bool(value)
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise wrong_type(name, value, "pass True or False") from None
    if number not in {0, 1}:
        raise wrong_type(name, value, "pass True or False")
    return bool(number)


def as_integer(name: str, value: object, *, low: int = _INT32_RANGE[0], high: int = _INT32_RANGE[1]) -> int:
    """Returns an int; by default one that an int32 of the contract can carry.

    Raises:
        TypeError: It is no integer: None, text, or a float, however whole.
        InvalidRequestError: It is out of range.
    """
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise wrong_type(name, value, f"pass an int{_such_as(value)}") from None
    if not low <= number <= high:
        raise invalid(name, f"{name} is {_shown(number)}; it must be from {low} to {high}")
    return number


def as_count(name: str, value: object) -> int:
    """Returns an int32 that is 0 or more; raises what `as_integer` raises."""
    return as_integer(name, value, low=0)


def as_seed(name: str, value: object) -> int:
    """Returns a seed as given, if torch.manual_seed takes it; raises what `as_integer` raises."""
    low, high = _SEED_RANGE
    return as_integer(name, value, low=low, high=high)


def as_number(name: str, value: object) -> float:
    """Returns a real number as a float, infinite if no float is large enough.

    Raises:
        TypeError: It is no number, or a bool.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise wrong_type(name, value, "pass a number")
    try:
        return float(value)
    except OverflowError:
        return -math.inf if value < 0 else math.inf


def as_choice(name: str, value: object, choices: Collection[str]) -> str:
    """Returns one of the texts that an argument may be.

    Raises:
        TypeError: It is no text.
        InvalidRequestError: It is another text.
    """
    if not isinstance(value, str):
        raise wrong_type(name, value, f"it must be one of {', '.join(choices)}")
    if value not in choices:
        raise invalid(name, f"{name} is {_shown(value)}; it must be one of {', '.join(choices)}")
    return value


def invalid(field: str, description: str) -> InvalidRequestError:
    """Returns the error for one broken rule of a request."""
    return InvalidRequestError(
        description, violations=(FieldViolation(field=field, description=description),)
    )


def wrong_type(name: str, value: object, remedy: str) -> TypeError:
    """Returns the error for an argument of the wrong type."""
    kind = "" if value is None else f" ({type(value).__name__})"
    return TypeError(f"{name} is {_shown(value)}{kind}; {remedy}")


def unknown_argument(name: str, *, call: Callable[..., Any] | None, options: Collection[str]) -> TypeError:
    """Returns the error for a keyword that a call does not take, with the nearest that it does.

    Args:
        name: The keyword.
        call: The method that was called; None if only options were given.
        options: What it takes by `**network`.
    """
    # Errors are rare, and imports are paid for by every process.
    from difflib import get_close_matches  # noqa: PLC0415
    from inspect import Parameter, signature  # noqa: PLC0415

    parameters = () if call is None else signature(call).parameters.values()
    own = [one.name for one in parameters if one.kind is not Parameter.VAR_KEYWORD and one.name != "self"]
    known = [*own, *options]
    nearest = get_close_matches(name, known, n=1)
    hint = f"did you mean {nearest[0]!r}?" if nearest else f"it takes {', '.join(known)}"
    called = "the network" if call is None else f"{call.__name__}()"
    return TypeError(f"{called} has no argument {name!r}; {hint}")


def _such_as(value: Any) -> str:
    """Returns an example for the caller who gave 64.0 or "64" for an int."""
    try:
        return f", such as {_shown(int(value))}"
    except (TypeError, ValueError, OverflowError):
        return ""


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # an int of more digits than Python writes
        return "a number of thousands of digits"
    return text if len(text) <= _SHOWN_LETTERS else f"{text[:_SHOWN_LETTERS]}..."
