"""Scales recurrent matrices to a spectral radius, as echo-state networks want it.

A file of its own because it is the only thing that is done to what torch draws. Source: Jaeger (2001), "The
echo state approach to analysing and training recurrent neural networks".
"""

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

# Up to here LAPACK finds all eigenvalues about as soon as ARPACK finds one.
_MAX_DENSE_SIZE = 128
# More than the one wanted, because the largest eigenvalues of random matrices lie close together on a circle.
# With one of them and ARPACK's own 20 vectors it was wrong by up to 1 % for some of 60 matrices of 256
# columns, and failed for others; with these by 2e-14 at most.
_ARPACK_EIGENVALUES = 6
_ARPACK_VECTORS = 128


def scaled(weight_hh: Float32[Tensor, "gates hidden"], radius: float) -> Float32[Tensor, "gates hidden"]:
    """Gives the matrix with each gate's square block multiplied by one float32 number.

    The number is ``radius`` by the block's largest absolute eigenvalue, taken in float64. Its rounding to
    float32 is part of the meaning: the last bits of a float64 eigenvalue may differ from machine to machine.
    """
    hidden = weight_hh.shape[1]
    # (gates * hidden, hidden) -> (gates, hidden, hidden)
    blocks = weight_hh.numpy().reshape(-1, hidden, hidden)
    factors = [radius / largest_eigenvalue(block.astype(np.float64)) for block in blocks]
    product = blocks * np.array(factors, np.float32)[:, np.newaxis, np.newaxis]
    return torch.from_numpy(product.reshape(-1, hidden))


def largest_eigenvalue(matrix: np.ndarray) -> float:
    """Gives the largest absolute eigenvalue of a square float64 matrix; the same for the same matrix.

    By ARPACK, from a fixed start; small matrices, and those on which it gives up, by LAPACK.
    """
    size = len(matrix)
    if size > _MAX_DENSE_SIZE:
        # A fifth of a second that a server's start should not take.
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
