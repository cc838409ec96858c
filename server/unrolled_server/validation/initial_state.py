"""Checks initial states, which clients take from earlier replies, and turns them into arrays."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from unrolled.v1 import forward_pb2 as pb

from unrolled_server.engine import Cell, NetworkSpec, State
from unrolled_server.errors import Violation
from unrolled_server.validation.network import cell_name


def state_violations(state: pb.State, network: NetworkSpec, *, batch: int) -> Iterator[Violation]:
    """Yields what is wrong with the initial state of `network` for `batch` sequences."""
    if state.network_digest and state.network_digest != network.digest:
        yield Violation(
            "initial_state.network_digest",
            f"initial_state.network_digest is {state.network_digest!r}; the request's network is "
            f"{network.digest!r}: its seed, sizes, alphabet length, vectors or other options are not those "
            "of the state; ask for the network that the state came from",
        )
    layers = network.num_layers * network.directions
    yield from _array_violations("h", state.h, state.h_shape, wanted=(layers, batch, network.state_size))
    if network.cell is Cell.LSTM:
        yield from _array_violations("c", state.c, state.c_shape, wanted=(layers, batch, network.hidden_size))
    elif state.c or state.c_shape:
        cell = cell_name(network.cell)
        description = f'initial_state has a c, which is for cell="lstm"; {cell} has none; leave it out'
        yield Violation("initial_state.c", description)


def state_arrays(state: pb.State) -> State:
    """Returns the arrays of a state without violations."""
    h = np.array(state.h, np.float32).reshape(state.h_shape)
    return State(h, np.array(state.c, np.float32).reshape(state.c_shape) if state.c_shape else None)


def _array_violations(
    name: str, values: Sequence[float], shape: Sequence[int], *, wanted: tuple[int, int, int]
) -> Iterator[Violation]:
    if len(shape) != len(wanted) or tuple(shape) != wanted:
        # A long shape is not shown: protobuf would make a Python object of each number.
        given = tuple(shape) if len(shape) <= len(wanted) else f"{len(shape)} numbers"
        yield Violation(
            f"initial_state.{name}_shape",
            f"initial_state.{name} has shape {given}; it must be {wanted}: "
            "(num_layers * directions, batch, size)",
        )
    elif len(values) != math.prod(wanted):
        yield Violation(
            f"initial_state.{name}",
            f"initial_state.{name} has {len(values)} values; its shape {wanted} has {math.prod(wanted)}",
        )
    elif not np.isfinite(array := np.array(values, np.float32)).all():
        at = int(np.argmin(np.isfinite(array)))
        yield Violation(
            f"initial_state.{name}",
            f"initial_state.{name}[{at}] is {array[at]}; all values must be finite; the network that it "
            "comes from overflowed float32",
        )
