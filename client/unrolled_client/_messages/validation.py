"""Checks the arguments of a call in Python's terms: types, ranges of the wire's integers, contradictions.

Wrong types raise TypeError, wrong values InvalidRequestError. The server judges everything else.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, cast, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from unrolled.text import resolve_alphabet

from unrolled_client._messages.arguments import (
    as_bool,
    as_choice,
    as_integer,
    as_number,
    as_seed,
    invalid,
    unknown_argument,
    wrong_type,
)
from unrolled_client._messages.request import Request
from unrolled_client._messages.words import alphabet_of, as_words
from unrolled_client.network import (
    DEFAULT_NETWORK,
    Cell,
    Network,
    NetworkOptions,
    Nonlinearity,
    OnEmpty,
    Output,
    UnknownSymbol,
    UnknownWord,
)
from unrolled_client.results import Layout, State, StateLike

_LAYOUTS = get_args(Layout)


def check_request(  # noqa: PLR0913 - the arguments of `forward`, by name
    words: Iterable[str],
    *,
    hidden_size: int,
    seed: int | None = None,
    alphabet: str | None = None,
    layout: Layout | None = None,
    options: NetworkOptions | None = None,
    initial_state: StateLike | None = None,
    is_local: bool = False,
    call: Callable[..., Any] | None = None,
) -> Request:
    """Returns the checked arguments of `Client.forward`; derives the alphabet if it is None or empty."""
    words = as_words(words)
    network = check_network(options, call=call)
    letters = _as_alphabet(alphabet, network)
    is_derived = not letters and not network.reads_sentences
    request = Request(
        words=words,
        lengths=list(map(network.symbol_count, words)),
        hidden_size=as_integer("hidden_size", hidden_size),
        seed=0 if seed is None else as_seed("seed", seed),
        alphabet=alphabet_of(words) if is_derived else letters,
        layout=_LAYOUTS[0] if layout is None or layout is _LAYOUTS[0] else _as_layout(layout),
        network=network,
        is_alphabet_derived=is_derived,
        is_local=is_local,
    )
    if network.unknown_symbol == "skip":
        request = request.with_words(words)
    if initial_state is None:
        return request
    state = as_state(initial_state, name="initial_state")
    batch_name = "words" if request.layout == "batch_first" else "word length"
    check_shapes(state, request=request, batch=request.batch, name="initial_state", batch_name=batch_name)
    return replace(request, initial_state=state)


def check_request_without_words(what: str, *, call: Callable[..., Any], **arguments: Any) -> Request:
    """Returns the checked arguments of a call whose words follow later; `what` is its name for errors.

    It requires an alphabet or word vectors, because each batch would derive an alphabet of its own.
    """
    request = check_request([], call=call, **arguments)
    if request.is_alphabet_derived:
        message = f"{what} needs an alphabet; derive_alphabet(words) makes one of all words"
        raise invalid("alphabet", message)
    return request


def _as_layout(layout: object) -> Layout:
    return cast("Layout", as_choice("layout", layout, _LAYOUTS))


def _as_alphabet(alphabet: str | None, network: Network) -> str:
    """Returns the letters of a given alphabet, and "" for one to derive."""
    if alphabet is None:
        return ""
    if not isinstance(alphabet, str):
        raise wrong_type("alphabet", alphabet, "pass one str, such as 'helo' or the name 'ascii'")
    if alphabet and network.reads_sentences:
        option = "word_embedding_size" if network.vectors is None else "vectors"
        raise invalid(
            "alphabet",
            f"alphabet is {alphabet!r:.40} and {option} is {getattr(network, option)!r}; with {option} the "
            "symbols are the words of sentences, so leave the alphabet out",
        )
    return resolve_alphabet(alphabet)


def check_network(options: NetworkOptions | None, *, call: Callable[..., Any] | None = None) -> Network:
    """Returns the network that the options describe; None stands for the default, of one option or of all."""
    if not options:
        return DEFAULT_NETWORK
    given: dict[str, Any] = {}
    for name, value in options.items():
        if name not in _CHECKS:
            raise unknown_argument(name, call=call, options=_CHECKS)
        if value is not None:
            given[name] = _CHECKS[name](name, value)
    _check_embedding(given)
    for name, default in _SERVER_DEFAULTS.items():
        if given.get(name) == default:
            del given[name]
    network = Network(**given)
    return DEFAULT_NETWORK if network == DEFAULT_NETWORK else network


def _check_embedding(given: Mapping[str, Any]) -> None:
    """Refuses contradictions in what is fed to the network."""
    if "vectors" not in given and "unknown_word" in given:
        raise invalid("unknown_word", "unknown_word is for word vectors; name their table with vectors=")
    sources = [name for name in ("vectors", "embedding_size", "word_embedding_size") if name in given]
    if len(sources) > 1:
        one, other = sources[:2]
        raise invalid(
            one,
            f"{one} is {given[one]!r} and {other} is {given[other]!r}; words are fed as one or the other; "
            "leave one out",
        )
    if given.get("unknown_symbol", "error") != "error" and sources and sources != ["embedding_size"]:
        raise invalid(
            "unknown_symbol",
            f"unknown_symbol is {given['unknown_symbol']!r} and {sources[0]} is {given[sources[0]]!r}; with "
            f"{sources[0]} the symbols are words, not letters; leave unknown_symbol out",
        )


def _as_factor(name: str, value: object) -> float:
    factor = as_number(name, value)
    if not (math.isfinite(factor) and factor > 0):
        raise invalid(name, f"{name} is {factor:g}; it must be a number above 0")
    return factor


def _as_table_name(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise wrong_type(name, value, "pass the name of one of the server's tables")
    if not value:
        raise invalid(name, f"{name} is ''; name one of the server's tables, which server_info() lists")
    return value


def as_state(given: StateLike, *, name: str) -> State:
    """Returns the state of the argument `name` as C-contiguous float32 arrays."""
    h, c, digest = _split_state(given)
    return State(
        h=_as_float32(h, name=f"{name}.h"),
        c=None if c is None else _as_float32(c, name=f"{name}.c"),
        network_digest=digest,
    )


def check_shapes(state: State, *, request: Request, batch: int, name: str, batch_name: str) -> None:
    """Refuses a state whose arrays do not have the shapes of the request's network and of this batch."""
    network, hidden_size = request.network, request.hidden_size
    axes, width = (
        f"(num_layers * directions, {batch_name}, ",
        "proj_size" if network.proj_size else "hidden_size",
    )
    h_shape = network.h_shape(hidden_size, batch=batch)
    _check_shape(state.h, h_shape, name=f"{name}.h", axes=f"{axes}{width})")
    c_shape = network.c_shape(hidden_size, batch=batch)
    if (state.c is None) != (c_shape is None):
        rule = "an LSTM starts from (h, c)" if c_shape else f"only an LSTM has a c; cell is {network.cell!r}"
        raise invalid(f"{name}.c", f"{name} {'has no c' if state.c is None else 'has a c'}; {rule}")
    if state.c is not None and c_shape is not None:
        _check_shape(state.c, c_shape, name=f"{name}.c", axes=f"{axes}hidden_size)")


def _split_state(given: StateLike) -> tuple[ArrayLike, ArrayLike | None, str]:
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
        is_too_large = np.isfinite(array[place])
        overflowed = "the network that it comes from overflowed float32"
        cause = "float32 holds up to 3.4e38" if is_too_large else overflowed
        raise invalid(name, f"{name}{list(place)} is {array[place]}; a state has finite numbers; {cause}")
    return numbers


def first_not_finite(array: NDArray[np.float32]) -> tuple[int, ...] | None:
    """Returns the index of the first number that is infinite or NaN; None if all are finite."""
    is_finite = np.isfinite(array)
    return None if is_finite.all() else tuple(np.argwhere(~is_finite)[0].tolist())


_as_count = partial(as_integer, low=0)
_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "cell": partial(as_choice, choices=get_args(Cell)),
    "nonlinearity": partial(as_choice, choices=get_args(Nonlinearity)),
    "num_layers": _as_count,
    "bidirectional": as_bool,
    "bias": as_bool,
    "proj_size": _as_count,
    "spectral_radius": _as_factor,
    "leak_rate": _as_factor,
    "input_scaling": _as_factor,
    "density": _as_factor,
    "embedding_size": _as_count,
    "word_embedding_size": _as_count,
    "vectors": _as_table_name,
    "unknown_word": partial(as_choice, choices=get_args(UnknownWord)),
    "unknown_symbol": partial(as_choice, choices=get_args(UnknownSymbol)),
    "on_empty": partial(as_choice, choices=get_args(OnEmpty)),
    "truncate": as_bool,
    "output": partial(as_choice, choices=get_args(Output)),
    "return_final_state": as_bool,
}
"""The check of each option of `NetworkOptions`."""
_SERVER_DEFAULTS = {
    "nonlinearity": "tanh",
    "leak_rate": 1.0,
    "input_scaling": 1.0,
    "density": 1.0,
    "unknown_word": "error",
    "unknown_symbol": "error",
    "on_empty": "error",
}
"""Values that mean the same as leaving the option out."""
