"""Checks of single arguments: TypeError for a wrong type, InvalidRequestError for a wrong value.

A bool is Python's, numpy's, or 0 or 1; an int is what `operator.index` takes (not 64.0); a number is any real
number but a bool. Errors name the argument, its value and the remedy.
"""

import contextlib
import math
import operator
from collections.abc import Callable, Collection
from difflib import get_close_matches
from inspect import Parameter, signature
from numbers import Real
from typing import Any

import numpy as np

from unrolled_client.errors import FieldViolation, InvalidRequestError

_INT32_RANGE = (-(2**31), 2**31 - 1)
_SEED_RANGE = (-(2**63), 2**64 - 1)
"""torch.manual_seed takes a seed as 64 bits, signed or unsigned."""
_MAX_DEADLINE_S = 3e9
"""gRPC counts nanoseconds in 64 bits, 292 years; a call with a deadline beyond that would fail at once."""
_SHOWN_LETTERS = 40


def as_bool(name: str, value: object, *, default: bool | None = None) -> bool:
    """Returns the value as a bool; the default, if there is one, for None."""
    if value is None and default is not None:
        return default
    if isinstance(value, bool | np.bool_):
        return bool(value)
    with contextlib.suppress(TypeError):
        number = operator.index(value)  # type: ignore[arg-type]
        if number in {0, 1}:
            return bool(number)
    raise wrong_type(name, value, "pass True or False")


def as_integer(name: str, value: object, *, low: int = _INT32_RANGE[0], high: int = _INT32_RANGE[1]) -> int:
    """Returns the value as an int; the default range is the contract's int32."""
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise wrong_type(name, value, f"pass an int{_such_as(value)}") from None
    if not low <= number <= high:
        raise invalid(name, f"{name} is {_shown(number)}; it must be from {low} to {high}")
    return number


def as_seed(name: str, value: object) -> int:
    """Returns the value as a seed for torch.manual_seed."""
    low, high = _SEED_RANGE
    return as_integer(name, value, low=low, high=high)


def as_number(name: str, value: object) -> float:
    """Returns a real number as a float, infinite if no float is large enough."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise wrong_type(name, value, "pass a number")
    try:
        return float(value)
    except OverflowError:
        return -math.inf if value < 0 else math.inf


def as_choice(name: str, value: object, choices: Collection[str]) -> str:
    """Returns the value if it is one of the choices."""
    if not isinstance(value, str):
        raise wrong_type(name, value, f"it must be one of {', '.join(choices)}")
    if value not in choices:
        raise invalid(name, f"{name} is {_shown(value)}; it must be one of {', '.join(choices)}")
    return value


def as_timeout_s(name: str, value: float) -> float:
    """Returns a timeout in seconds, infinite for no deadline."""
    seconds = as_number(name, value)
    if not seconds > 0:  # false for NaN too
        raise invalid(name, f"{name} is {seconds:g}; it must be above 0, or math.inf for no deadline")
    return seconds


def resolve_timeout_s(timeout_s: float | None, *, default_s: float) -> float | None:
    """Returns a call's timeout for gRPC: the default in place of None, and None for no deadline."""
    limit_s = default_s if timeout_s is None else as_timeout_s("timeout_s", timeout_s)
    return None if limit_s > _MAX_DEADLINE_S else limit_s


def invalid(field: str, description: str) -> InvalidRequestError:
    """Returns the error for one broken rule of a request."""
    violation = FieldViolation(field=field, description=description)
    return InvalidRequestError(description, violations=(violation,))


def wrong_type(name: str, value: object, remedy: str) -> TypeError:
    """Returns the error for an argument of the wrong type."""
    kind = "" if value is None else f" ({type(value).__name__})"
    return TypeError(f"{name} is {_shown(value)}{kind}; {remedy}")


def unknown_argument(
    name: str, *, call: Callable[..., Any] | None, options: Collection[str] = ()
) -> TypeError:
    """Returns the error for an unknown keyword, with the nearest known one of `call`, else of `options`."""
    parameters = () if call is None else signature(call).parameters.values()
    own = [one.name for one in parameters if one.kind is not Parameter.VAR_KEYWORD and one.name != "self"]
    known = own or options
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
