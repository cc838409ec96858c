"""Draws the parameters of any torch.nn network in torch's order, from torch's generator."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float32
from torch import Tensor

from unrolled_server.engine.spec import GATES, NetworkSpec
from unrolled_server.engine.spectrum import scaled


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerParameters:
    """One layer's parameters in torch's shapes and names; absent ones are None.

    ``weight_hr`` is the LSTM's projection.
    """

    weight_ih: Float32[Tensor, "gates inputs"]
    weight_hh: Float32[Tensor, "gates state"]
    bias_ih: Float32[Tensor, " gates"] | None
    bias_hh: Float32[Tensor, " gates"] | None
    weight_hr: Float32[Tensor, "state hidden"] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """All parameters of a spec.

    Attributes:
        embedding: Those of a torch.nn.Embedding; None for one-hot symbols and word vectors.
        layers: From the input on; each layer's directions, forward first.
    """

    embedding: Float32[Tensor, "symbols inputs"] | None
    layers: tuple[tuple[LayerParameters, ...], ...]


def draw(spec: NetworkSpec) -> Parameters:
    """Draws what these lines draw, bit for bit.

    ``torch.manual_seed(seed)``, then ``torch.nn.Embedding(symbol_count, embedding_size)`` if there is one,
    then ``torch.nn.RNN``, ``LSTM`` or ``GRU``. Source: torch.nn.Embedding.reset_parameters (standard normal)
    and torch.nn.RNNBase.reset_parameters: every parameter uniform in +-1/sqrt(hidden_size), layer by layer,
    in each the forward direction before the backward one, in the order weight_ih, weight_hh, bias_ih,
    bias_hh, weight_hr. A spectral radius scales what was drawn, see `spectrum`. Always on the CPU, because a
    CUDA generator gives other numbers.
    """
    generator = torch.Generator().manual_seed(spec.seed)
    embedding = None
    if spec.embedding_size and not spec.vectors:
        embedding = torch.empty(spec.symbol_count, spec.embedding_size).normal_(generator=generator)
    layers = [
        tuple(_layer(spec, layer, generator) for _ in range(spec.directions))
        for layer in range(spec.num_layers)
    ]
    return Parameters(embedding=embedding, layers=tuple(layers))


def _layer(spec: NetworkSpec, layer: int, generator: torch.Generator) -> LayerParameters:
    bound, gates = 1.0 / math.sqrt(spec.hidden_size), GATES[spec.cell] * spec.hidden_size

    def uniform(*shape: int) -> Tensor:
        return torch.empty(shape).uniform_(-bound, bound, generator=generator)

    weight_ih = uniform(gates, spec.output_size if layer else spec.input_size)
    weight_hh = uniform(gates, spec.state_size)
    biases = [uniform(gates) if spec.bias else None for _ in range(2)]
    return LayerParameters(
        weight_ih=weight_ih,
        weight_hh=scaled(weight_hh, spec.spectral_radius) if spec.spectral_radius else weight_hh,
        bias_ih=biases[0],
        bias_hh=biases[1],
        weight_hr=uniform(spec.proj_size, spec.hidden_size) if spec.proj_size else None,
    )
