"""Draws the parameters of any torch.nn network in torch's order, from torch's generator."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from unrolled_server.engine.spec import GATES, NetworkSpec

# Up to here LAPACK finds all eigenvalues about as fast as ARPACK finds one.
_MAX_DENSE_SIZE = 128
# More than the one needed, because the largest eigenvalues of random matrices lie close together on a circle.
# With one eigenvalue and ARPACK's default of 20 vectors, some of 60 matrices of 256 columns were wrong by up
# to 1 % and others failed; with these the error is at most 2e-14.
_ARPACK_EIGENVALUES = 6
_ARPACK_VECTORS = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerParameters:
    """One layer's parameters in torch's shapes and names; ``weight_hr`` is the LSTM's projection."""

    weight_ih: Float32[Tensor, "gates inputs"]
    weight_hh: Float32[Tensor, "gates state"]
    bias_ih: Float32[Tensor, " gates"] | None
    bias_hh: Float32[Tensor, " gates"] | None
    weight_hr: Float32[Tensor, "state hidden"] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """All parameters of a spec: layers from the input on, and each layer's directions, forward first."""

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


def scaled(weight_hh: Float32[Tensor, "gates hidden"], radius: float) -> Float32[Tensor, "gates hidden"]:
    """Returns the matrix with each gate's square block multiplied by one float32 number.

    The number is ``radius`` by the block's largest absolute eigenvalue, computed in float64. Its rounding to
    float32 is part of the definition: the last bits of a float64 eigenvalue may differ between machines.
    Source: Jaeger (2001), "The echo state approach to analysing and training recurrent neural networks".
    """
    hidden = weight_hh.shape[1]
    # (gates * hidden, hidden) -> (gates, hidden, hidden)
    blocks = weight_hh.numpy().reshape(-1, hidden, hidden)
    factors = [radius / largest_eigenvalue(block.astype(np.float64)) for block in blocks]
    product = blocks * np.array(factors, np.float32)[:, np.newaxis, np.newaxis]
    return torch.from_numpy(product.reshape(-1, hidden))


def largest_eigenvalue(matrix: np.ndarray) -> float:
    """Returns the largest absolute eigenvalue of a square float64 matrix; the same for the same matrix.

    Computed by ARPACK from a fixed start; by LAPACK for small matrices and if ARPACK does not converge.
    """
    size = len(matrix)
    if size > _MAX_DENSE_SIZE:
        # Importing scipy takes a fifth of a second, too long for every server's start.
        from scipy.sparse.linalg import ArpackNoConvergence, eigs  # noqa: PLC0415

        start = np.random.default_rng(0).standard_normal(size)
        try:
            found = eigs(
                matrix, k=_ARPACK_EIGENVALUES, ncv=_ARPACK_VECTORS, v0=start, return_eigenvectors=False
            )
            return float(np.abs(found).max())
        except ArpackNoConvergence:
            pass
    return float(np.abs(np.linalg.eigvals(matrix)).max())
