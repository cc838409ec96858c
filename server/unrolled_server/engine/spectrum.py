"""Scales recurrent matrices to a spectral radius, as echo-state networks need it.

Source: Jaeger (2001), "The echo state approach to analysing and training recurrent neural networks".
"""

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

# Up to here LAPACK finds all eigenvalues about as fast as ARPACK finds one.
_MAX_DENSE_SIZE = 128
# More than the one needed, because the largest eigenvalues of random matrices lie close together on a circle.
# With one eigenvalue and ARPACK's default of 20 vectors, some of 60 matrices of 256 columns were wrong by up
# to 1 % and others failed; with these the error is at most 2e-14.
_ARPACK_EIGENVALUES = 6
_ARPACK_VECTORS = 128


def scaled(weight_hh: Float32[Tensor, "gates hidden"], radius: float) -> Float32[Tensor, "gates hidden"]:
    """Returns the matrix with each gate's square block multiplied by one float32 number.

    The number is ``radius`` by the block's largest absolute eigenvalue, computed in float64. Its rounding to
    float32 is part of the definition: the last bits of a float64 eigenvalue may differ between machines.
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
