"""Checks a state that a caller wants to start from, and converts it to float32 arrays."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unrolled_client._messages.arguments import invalid
from unrolled_client._messages.request import Request
from unrolled_client.network import Network
from unrolled_client.results import State, StateLike


def as_initial_state(given: StateLike, *, request: Request) -> State:
    """Returns the state to start a request from."""
    state = as_state(given, name="initial_state")
    check_shapes(
        state,
        network=request.network,
        hidden_size=request.hidden_size,
        batch=request.batch,
        name="initial_state",
        batch_name="words" if request.layout == "batch_first" else "word length",
    )
    return state


def as_state(given: StateLike, *, name: str) -> State:
    """Returns the state of the argument `name` as C-contiguous float32 arrays."""
    h, c, digest = _unpack(given)
    return State(
        h=_as_float32(h, name=f"{name}.h"),
        c=None if c is None else _as_float32(c, name=f"{name}.c"),
        network_digest=digest,
    )


def check_shapes(  # noqa: PLR0913 - what shapes depend on, by name
    state: State, *, network: Network, hidden_size: int, batch: int, name: str, batch_name: str
) -> None:
    """Refuses a state whose arrays do not have the shapes of this network and batch."""
    axes = f"(num_layers * directions, {batch_name}, "
    _check_shape(
        state.h,
        network.h_shape(hidden_size, batch=batch),
        name=f"{name}.h",
        axes=f"{axes}{'proj_size' if network.proj_size else 'hidden_size'})",
    )
    c_shape = network.c_shape(hidden_size, batch=batch)
    if (state.c is None) != (c_shape is None):
        rule = "an LSTM starts from (h, c)" if c_shape else f"only an LSTM has a c; cell is {network.cell!r}"
        raise invalid(f"{name}.c", f"{name} {'has no c' if state.c is None else 'has a c'}; {rule}")
    if state.c is not None and c_shape is not None:
        _check_shape(state.c, c_shape, name=f"{name}.c", axes=f"{axes}hidden_size)")


def _unpack(given: StateLike) -> tuple[ArrayLike, ArrayLike | None, str]:
    if isinstance(given, State):
        return given
    if isinstance(given, tuple) and len(given) == 2:  # noqa: PLR2004 - torch's (h, c)
        h, c = given
        return h, c, ""
    return given, None, ""


def _check_shape(array: NDArray[np.float32], expected: tuple[int, ...], *, name: str, axes: str) -> None:
    if array.shape != expected:
        raise invalid(name, f"{name} has shape {array.shape}; it must be {expected}, which is {axes}")


def _as_float32(given: Any, *, name: str) -> NDArray[np.float32]:
    try:
        array = np.asarray(given)
    except ValueError as error:  # lists of unequal lengths
        raise invalid(name, f"{name} is no array: {error}") from None
    if array.dtype.kind not in "fiu":
        raise invalid(name, f"{name} is an array of {array.dtype}; pass real numbers, as float32 best")
    with np.errstate(over="ignore"):  # what float32 cannot hold is found below
        numbers = np.ascontiguousarray(array, np.dtype("<f4"))
    if (place := first_not_finite(numbers)) is not None:
        cause = (
            "float32 holds up to 3.4e38"
            if np.isfinite(array[place])
            else "the network that it comes from overflowed float32"
        )
        raise invalid(name, f"{name}{list(place)} is {array[place]}; a state has finite numbers; {cause}")
    return numbers


def first_not_finite(array: NDArray[np.float32]) -> tuple[int, ...] | None:
    """Returns the index of the first number that is infinite or NaN; None if all are finite."""
    is_finite = np.isfinite(array)
    return None if is_finite.all() else tuple(np.argwhere(~is_finite)[0].tolist())
