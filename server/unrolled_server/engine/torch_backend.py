"""Networks on an accelerator, with torch. The only module of the server that imports torch."""

from collections.abc import Iterator
from functools import reduce
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from unrolled_server.array_types import Float32, Int32
from unrolled_server.engine.initialization import LayerParameters, Parameters, draw
from unrolled_server.engine.job import InitialStates, Output, Stop
from unrolled_server.engine.network import (
    DeviceUnavailableError,
    DeviceUnstableError,
    Network,
    Reply,
)
from unrolled_server.engine.random_numbers import word_vector
from unrolled_server.engine.spec import GATES, Cell, NetworkSpec, Nonlinearity, WordVectors
from unrolled_server.engine.words import EncodedWords

# All products have this many rows, because a library may compute a row in another order for another number.
TILE_ROWS = 64
# And a multiple of this many columns: on the CPU, the rows of other products differ (6 columns: by place).
_COLUMNS = 16
# A tile has fewer words if their outputs, each as long as the longest, would need more memory.
_MAX_OUTPUT_BYTES = 128 << 20
_MAX_VERIFIED_LENGTH = 20

State = tuple[Float32[Tensor, "rows _"], ...]
"""The states of a tile's rows: h and, for an LSTM, c."""


def choose_device(name: str) -> torch.device:
    """Returns the device of this name; "auto" is what `torch.accelerator` offers, else the CPU.

    Raises DeviceUnavailableError if this machine or this build of torch has no such device.
    """
    offered = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if name == "auto":
        return offered or torch.device("cpu")
    if offered is None or offered.type != name:
        found = offered.type if offered else "no accelerator"
        raise DeviceUnavailableError(f"device is {name!r}; torch finds {found} here; use auto or cpu")
    return offered


class TorchBackend:
    """Makes networks on one device; a `Backend`."""

    isa = ""

    def __init__(self, device: torch.device) -> None:
        self.device = str(device)

    def network(self, spec: NetworkSpec, parameters: Parameters, vectors: WordVectors | None) -> Network:
        if parameters.embedding is not None:
            vectors = WordVectors("", parameters.embedding, np.zeros(spec.embedding_size, np.float32))
        first, *others = parameters.layers
        if spec.is_one_hot:  # one more row, of zeros, for letters that are not in the alphabet
            first = [each._replace(weight_ih=np.pad(each.weight_ih, ((0, 0), (0, 1)))) for each in first]
        layers = [[_Direction(each, self.device) for each in layer] for layer in (first, *others)]
        return TorchNetwork(spec, layers, vectors, _zero_states(spec))

    def keep_released(self, limit_bytes: int) -> None:
        """Does nothing: torch has an allocator of its own."""

    def verify(self) -> None:
        """Computes fixed words in two orders; raises DeviceUnstableError if their bits differ."""
        numbers = np.random.default_rng(0)
        codes = [
            numbers.integers(0, 4, size, np.int32) for size in numbers.integers(1, _MAX_VERIFIED_LENGTH, 90)
        ]
        for cell in Cell:
            spec = NetworkSpec(
                symbol_count=4, hidden_size=50, seed=0, cell=cell, num_layers=2, bidirectional=True
            )
            network = self.network(spec, draw(spec), None)
            values = np.zeros((2, len(codes), _MAX_VERIFIED_LENGTH, spec.output_size), np.float32)
            for order, out in ((codes, values[0]), (codes[::-1], values[1, ::-1])):
                lengths = np.array([len(word) for word in order], np.int32)
                network.run(EncodedWords.of(np.concatenate(order), lengths), Reply(values=out))
            if values[0].tobytes() != values[1].tobytes():
                raise DeviceUnstableError(
                    f"{self.device} computes other bits for a word in another place; use --device cpu"
                )


class _Direction:
    """The parameters of one direction of a layer, for rows: transposed, with columns of zeros at the end."""

    def __init__(self, parameters: LayerParameters, device: str) -> None:
        def copy(matrix: Float32[np.ndarray, "..."] | None) -> Tensor:
            columns = np.zeros(self._gates, np.float32) if matrix is None else matrix.T
            added = [(0, 0)] * (columns.ndim - 1) + [(0, -columns.shape[-1] % _COLUMNS)]
            return torch.from_numpy(np.pad(columns, added)).to(device)

        self._gates, self._state_size = parameters.weight_hh.shape
        self.weight_ih = copy(parameters.weight_ih)
        self.weight_hh = copy(parameters.weight_hh)
        self.bias_ih = copy(parameters.bias_ih)
        self.bias_hh = copy(parameters.bias_hh)
        self.weight_hr = None if parameters.weight_hr is None else copy(parameters.weight_hr)
        self.nbytes = sum(each.nbytes for each in vars(self).values() if isinstance(each, Tensor))

    def add_inputs(self, rows: Tensor) -> Float32[Tensor, "rows gates"]:
        """Returns what one-hot symbols (rows,) or inputs (rows, size) add to the gates."""
        if rows.dim() == 1:
            return self.weight_ih[rows] + self.bias_ih
        return torch.addmm(self.bias_ih, rows, self.weight_ih)

    def step(self, spec: NetworkSpec, inputs: Float32[Tensor, "rows gates"], state: State) -> State:
        """Computes one step of a whole tile; on the CPU, activations of parts may have other bits."""
        h = state[0]
        recurrent = torch.addmm(self.bias_hh, h, self.weight_hh)
        sums = inputs + recurrent
        if spec.cell is Cell.RNN:
            results = sums.relu() if spec.nonlinearity is Nonlinearity.RELU else sums.tanh()
            results = results[:, : self._gates]
            if spec.leak_rate == 1:
                return (results,)
            return (results * spec.leak_rate + h * (1 - spec.leak_rate),)
        input_gates, recurrent_gates, sigmoids, tanhs = (
            each[:, : self._gates].chunk(GATES[spec.cell], 1)
            for each in (inputs, recurrent, sums.sigmoid(), sums.tanh())
        )
        if spec.cell is Cell.GRU:
            reset, update, _ = sigmoids
            candidate = (input_gates[2] + reset * recurrent_gates[2]).tanh()
            return (candidate + (h - candidate) * update,)
        input_gate, forget, _, output = sigmoids
        c = forget * state[1] + input_gate * tanhs[2]
        h = output * c.tanh()
        return (h if self.weight_hr is None else (h @ self.weight_hr)[:, : self._state_size], c)


class _Tile(NamedTuple):
    """Some distinct words, longest first, and all places of each of them in its call."""

    places: list[list[int]]
    symbols: Int32[np.ndarray, "seq words"]
    lengths: Int32[np.ndarray, " words"]
    starts: Int32[np.ndarray, " words"]


class TorchNetwork:
    """A `Network` that keeps no states: each call computes its distinct words, a tile at a time."""

    row_nbytes = 1  # it keeps no rows, so it ignores their limit
    row_count = 0

    def __init__(
        self,
        spec: NetworkSpec,
        layers: list[list[_Direction]],
        vectors: WordVectors | None,
        starts: list[Float32[np.ndarray, "layers starts size"]],
    ) -> None:
        self._spec = spec
        self._layers = layers
        self._vectors = vectors
        self._starts = starts
        self._device = layers[0][0].weight_hh.device
        self.weights_nbytes = sum(direction.nbytes for layer in layers for direction in layer)
        if vectors is not None and not spec.vectors:
            self.weights_nbytes += vectors.rows.nbytes

    @property
    def nbytes(self) -> int:
        return self.weights_nbytes

    def is_known(self, words: EncodedWords) -> bool:  # noqa: ARG002 - Network's signature
        return False

    def starting_at(self, starts: InitialStates) -> "TorchNetwork":
        given = [starts.h] if starts.c is None else [starts.h, starts.c]
        return TorchNetwork(self._spec, self._layers, self._vectors, given)

    def close(self) -> None:
        """See `Network`; torch frees its tensors."""

    @torch.inference_mode()
    def run(
        self,
        words: EncodedWords,
        reply: Reply,
        *,
        max_rows: int = 0,  # noqa: ARG002 - Network's signature
        stop: Stop | None = None,
    ) -> None:
        values = reply.values
        if values is None:
            return
        for tile in self._tiles(words):
            outputs, finals = self._compute(tile, stop or Stop())
            states = [torch.stack(each).cpu().numpy() for each in finals]
            _write(reply, values, tile, outputs.cpu().numpy(), states)

    def _tiles(self, words: EncodedWords) -> Iterator[_Tile]:
        starts = words.start_numbers
        symbols = np.split(words.codes, np.cumsum(words.lengths)[:-1])
        places: dict[tuple[int, bytes], list[int]] = {}
        for place, key in enumerate(zip(starts.tolist(), map(bytes, symbols), strict=True)):
            places.setdefault(key, []).append(place)
        distinct = sorted(places.values(), key=lambda each: -len(symbols[each[0]]))
        width = max(self._spec.output_size, self._spec.embedding_size)
        while distinct:
            longest = len(symbols[distinct[0][0]])
            count = min(TILE_ROWS, max(1, _MAX_OUTPUT_BYTES // (4 * width * max(1, longest))))
            tile, distinct = distinct[:count], distinct[count:]
            firsts = [each[0] for each in tile]
            padded = np.zeros((longest, len(tile)), np.int32)
            for row, first in enumerate(firsts):
                padded[: len(symbols[first]), row] = symbols[first]
            yield _Tile(tile, padded, words.lengths[firsts], starts[firsts])

    def _compute(
        self, tile: _Tile, stop: Stop
    ) -> tuple[Float32[Tensor, "seq words output"], list[list[Tensor]]]:
        """Returns the outputs, and the final h and c of each layer and direction."""
        seq, count = tile.symbols.shape
        lengths = torch.zeros(TILE_ROWS, 1, dtype=torch.int64)
        lengths[:count, 0] = torch.from_numpy(tile.lengths)
        is_inside = (torch.arange(seq)[:, None, None] < lengths).to(self._device)  # (seq, TILE_ROWS, 1)
        below, finals = self._inputs(tile.symbols, stop), [list[Tensor]() for _ in self._starts]
        for layer in self._layers:
            outputs = torch.empty(seq, count, self._spec.output_size, device=self._device)
            for direction, columns in zip(layer, outputs.tensor_split(len(layer), 2), strict=True):
                state = self._initial_state(tile.starts, layer=len(finals[0]))
                is_backward = direction is not layer[0]
                for position in reversed(range(seq)) if is_backward else range(seq):
                    stop.check()
                    inputs = direction.add_inputs(_whole_tile(below[position]))
                    after = direction.step(self._spec, inputs, state)
                    inside = is_inside[position]
                    state = tuple(torch.where(inside, *both) for both in zip(after, state, strict=True))
                    columns[position] = state[0][:count]
                for final, part in zip(finals, state, strict=True):
                    final.append(part[:count])
            below = outputs
        return below, finals

    def _inputs(self, symbols: Int32[np.ndarray, "seq words"], stop: Stop) -> Tensor:
        """Returns one-hot symbols as they are, and vectors (seq, words, size) of others."""
        vectors = self._vectors
        if self._spec.has_random_words:
            return torch.from_numpy(_random_vectors(self._spec, symbols, stop)).to(self._device)
        if vectors is None:
            return torch.from_numpy(symbols).to(self._device)
        inputs = np.zeros((*symbols.shape, vectors.size), np.float32)
        is_word = symbols < len(vectors.rows)
        inputs[is_word] = vectors.rows[symbols[is_word]]
        inputs[symbols == len(vectors.rows) + 1] = vectors.mean
        return torch.from_numpy(inputs).to(self._device)

    def _initial_state(self, starts: Int32[np.ndarray, " words"], *, layer: int) -> State:
        return tuple(
            _whole_tile(torch.from_numpy(part[layer, starts])).to(self._device) for part in self._starts
        )


def _zero_states(spec: NetworkSpec) -> list[Float32[np.ndarray, "layers 1 size"]]:
    sizes = [spec.state_size, spec.hidden_size] if spec.cell is Cell.LSTM else [spec.state_size]
    return [np.zeros((spec.num_layers * spec.directions, 1, size), np.float32) for size in sizes]


def _random_vectors(
    spec: NetworkSpec, symbols: Int32[np.ndarray, "seq words"], stop: Stop
) -> Float32[np.ndarray, "seq words size"]:
    """Draws the vectors of random words on the CPU, once for each symbol."""
    distinct, places = np.unique(symbols, return_inverse=True)
    rows = np.empty((len(distinct), spec.embedding_size), np.float32)
    for row, symbol in zip(rows, distinct.tolist(), strict=True):
        stop.check()
        row[:] = word_vector(spec.seed, symbol, spec.embedding_size)
    return rows[places.reshape(symbols.shape)]


def _whole_tile(rows: Tensor) -> Tensor:
    tile = torch.zeros(TILE_ROWS, *rows.shape[1:], dtype=rows.dtype, device=rows.device)
    tile[: len(rows)] = rows
    return tile


@np.errstate(over="ignore", invalid="ignore")  # initial states, and so sums, may be any numbers
def _write(
    reply: Reply,
    values: Float32[np.ndarray, "*rows output"],
    tile: _Tile,
    outputs: Float32[np.ndarray, "seq words output"],
    finals: list[Float32[np.ndarray, "layers words size"]],
) -> None:
    """Writes the words of a tile to all their places."""
    for word, (places, length) in enumerate(zip(tile.places, tile.lengths.tolist(), strict=True)):
        rows = outputs[:length, word]
        for part, final in zip((reply.h_n, reply.c_n), finals, strict=False):
            if part is not None:
                part[:, places] = final[:, [word]]
        match reply.output:
            case Output.ALL if reply.numbers is not None:
                values[reply.numbers[places[0], :length]] = rows
            case Output.ALL:
                values[places, :length] = rows
                values[places, length:] = 0
            case _ if not length:
                values[places] = 0
            case Output.LAST:
                values[places] = rows[-1]
            case Output.MEAN:  # summed in float32 from the first position to the last, then divided once
                values[places] = reduce(np.add, rows) / np.float32(length)
            case Output.MAX:  # keeps NaN; a zero is +0.0
                values[places] = reduce(np.maximum, rows) + np.float32(0)
