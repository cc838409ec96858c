"""Draws the parameters of any torch.nn network in torch's order, from torch's generator, without torch."""

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from unrolled_server.array_types import Float32
from unrolled_server.engine.job import Stop
from unrolled_server.engine.random_numbers import Generator, scale, scale_to_radius
from unrolled_server.engine.spec import GATES, NetworkSpec


class LayerParameters(NamedTuple):
    """One direction of a layer in torch's shapes, names and order; ``weight_hr`` is the LSTM's projection."""

    weight_ih: Float32[np.ndarray, "gates inputs"]
    weight_hh: Float32[np.ndarray, "gates state"]
    bias_ih: Float32[np.ndarray, " gates"] | None
    bias_hh: Float32[np.ndarray, " gates"] | None
    weight_hr: Float32[np.ndarray, "state hidden"] | None


class Parameters(NamedTuple):
    """All parameters of a spec: layers from the input on, and each layer's directions, forward first."""

    embedding: Float32[np.ndarray, "symbols inputs"] | None
    layers: Sequence[Sequence[LayerParameters]]


def draw(spec: NetworkSpec, stop: Stop | None = None) -> Parameters:
    """Draws what these lines draw, bit for bit as torch 2.13 on x86 with AVX2.

    ``torch.manual_seed(seed)``, then ``torch.nn.Embedding(symbol_count, embedding_size)`` if there is one,
    then ``torch.nn.RNN``, ``LSTM`` or ``GRU``. Source: torch.nn.Embedding.reset_parameters (standard normal)
    and torch.nn.RNNBase.reset_parameters: every parameter uniform in +-1/sqrt(hidden_size), layer by layer,
    in each the forward direction before the backward one, in the order weight_ih, weight_hh, bias_ih,
    bias_hh, weight_hr.

    Then come the options of echo-state networks, in the same order of layers and directions. A density draws
    ``torch.rand`` for each element of weight_hh, and sets to 0 those whose number is not below it. A spectral
    radius scales each gate's square block of weight_hh by one float32 number. Input scaling multiplies
    weight_ih. Source: Jaeger (2001), "The echo state approach to analysing and training recurrent neural
    networks". Raises StoppedError if ``stop`` is due.
    """
    generator, stop = Generator(spec.seed), stop or Stop()
    embedding = None
    if spec.embedding_floats:
        embedding = generator.normal((spec.symbol_count, spec.embedding_size))
    layers = [
        [_layer(spec, layer, generator, stop) for _ in range(spec.directions)]
        for layer in range(spec.num_layers)
    ]
    for direction in chain.from_iterable(layers):
        _make_reservoir(spec, direction, generator, stop)
    return Parameters(embedding, layers)


def _layer(spec: NetworkSpec, layer: int, generator: Generator, stop: Stop) -> LayerParameters:
    gates = GATES[spec.cell] * spec.hidden_size

    def uniform(*shape: int) -> Float32[np.ndarray, "..."]:
        return generator.uniform(shape, spec.hidden_size, stop)

    weight_ih = uniform(gates, spec.output_size if layer else spec.input_size)
    weight_hh = uniform(gates, spec.state_size)
    bias_ih, bias_hh = (uniform(gates) if spec.bias else None for _ in range(2))
    weight_hr = uniform(spec.proj_size, spec.hidden_size) if spec.proj_size else None
    return LayerParameters(weight_ih, weight_hh, bias_ih, bias_hh, weight_hr)


def _make_reservoir(spec: NetworkSpec, drawn: LayerParameters, generator: Generator, stop: Stop) -> None:
    """Changes the drawn matrices by the options of echo-state networks."""
    if spec.density != 1:
        generator.mask(drawn.weight_hh, spec.density, stop)
    if spec.spectral_radius:
        # (gates * hidden, hidden) -> (gates, hidden, hidden)
        for block in drawn.weight_hh.reshape(-1, spec.hidden_size, spec.hidden_size):
            scale_to_radius(block, spec.spectral_radius, stop)
    if spec.input_scaling != 1:
        scale(drawn.weight_ih, spec.input_scaling, stop)
