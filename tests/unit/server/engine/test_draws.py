"""Recurrent matrices are scaled to the requested spectral radius, each by one factor."""

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import ArpackNoConvergence
from unrolled_server.engine.draws import largest_eigenvalue, scaled


def a_matrix(size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.empty(size, size).uniform_(-1, 1, generator=generator)


def radius_of(matrix):
    return np.abs(np.linalg.eigvals(matrix.double().numpy())).max()


@pytest.mark.parametrize("size", [1, 2, 3, 100, 128, 129, 200, pytest.param(300, marks=pytest.mark.long)])
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 5))])
def test_the_largest_eigenvalue_is_lapacks(size, seed):
    matrix = a_matrix(size, seed)
    assert largest_eigenvalue(matrix.double().numpy()) == pytest.approx(radius_of(matrix), rel=1e-12)


def test_lapack_is_the_fallback_if_arpack_does_not_converge(monkeypatch):
    def give_up(*_arguments, **_options):
        raise ArpackNoConvergence("no", np.zeros(0), np.zeros(0))

    monkeypatch.setattr("scipy.sparse.linalg.eigs", give_up)
    matrix = a_matrix(150)
    assert largest_eigenvalue(matrix.double().numpy()) == pytest.approx(radius_of(matrix), rel=1e-12)


@pytest.mark.parametrize("radius", [0.01, 0.9, 5.0])
def test_each_gates_block_is_multiplied_by_one_factor(radius):
    blocks = [a_matrix(40, seed) for seed in range(4)]
    result = scaled(torch.cat(blocks), radius)
    assert result.dtype == torch.float32
    for block, of_gate in zip(blocks, result.split(40), strict=True):
        assert radius_of(of_gate) == pytest.approx(radius, rel=1e-6)
        factor = np.float32(radius / radius_of(block))
        assert torch.equal(of_gate, block * float(factor))


def test_scaling_does_not_change_the_drawn_parameters():
    matrix = a_matrix(20)
    before = matrix.clone()
    scaled(matrix, 0.5)
    assert torch.equal(matrix, before)
