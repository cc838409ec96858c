"""Parameters are drawn bit for bit as torch draws them, and scaled to a spectral radius by one factor."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from unrolled_server.engine.initialization import draw
from unrolled_server.engine.job import Stop, StoppedError
from unrolled_server.engine.random_numbers import Generator, scale_to_radius, spectral_radius
from unrolled_server.engine.spec import Cell, NetworkSpec

MODULES = {Cell.RNN: torch.nn.RNN, Cell.LSTM: torch.nn.LSTM, Cell.GRU: torch.nn.GRU}
SEEDS = st.integers(0, 2**32 - 1)
RANDOM = np.random.default_rng(0)
ORTHOGONAL = np.linalg.qr(RANDOM.standard_normal((40, 40))).Q
needs_avx2 = pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() not in {"AVX2", "AVX512"},
    reason="torch draws other last bits without AVX2",
)


@st.composite
def specs(draw_from: st.DrawFn) -> NetworkSpec:
    hidden_size, cell = draw_from(st.integers(1, 40)), draw_from(st.sampled_from(Cell))
    has_projection = cell is Cell.LSTM and hidden_size > 1
    return NetworkSpec(
        symbol_count=draw_from(st.integers(1, 40)),
        hidden_size=hidden_size,
        seed=draw_from(SEEDS),
        cell=cell,
        num_layers=draw_from(st.integers(1, 3)),
        bias=draw_from(st.booleans()),
        proj_size=draw_from(st.integers(0, hidden_size - 1)) if has_projection else 0,
        embedding_size=draw_from(st.integers(0, 20)),
        bidirectional=draw_from(st.booleans()),
    )


def torch_parameters(spec):
    """Returns the parameters of torch's modules, in their order."""
    torch.manual_seed(spec.seed)
    embedding = torch.nn.Embedding(spec.symbol_count, spec.embedding_size) if spec.embedding_size else None
    module = MODULES[spec.cell](
        spec.input_size,
        spec.hidden_size,
        num_layers=spec.num_layers,
        bias=spec.bias,
        bidirectional=spec.bidirectional,
        **({"proj_size": spec.proj_size} if spec.proj_size else {}),
    )
    return [*(embedding.parameters() if embedding else ()), *module.parameters()]


@needs_avx2
@given(specs())
def test_parameters_are_torchs_bit_for_bit(spec):
    parameters = draw(spec)
    drawn = [] if parameters.embedding is None else [parameters.embedding]
    for layer in parameters.layers:
        for direction in layer:
            names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
            drawn += [array for name in names if (array := getattr(direction, name)) is not None]
    expected = [parameter.detach().numpy() for parameter in torch_parameters(spec)]
    assert [(array.shape, array.tobytes()) for array in drawn] == [
        (array.shape, array.tobytes()) for array in expected
    ]


@needs_avx2
@given(seed=SEEDS, count=st.one_of(st.integers(1, 40), st.integers(41, 3000)))
def test_normal_numbers_of_any_count_are_torchs_bit_for_bit(seed, count):
    expected = torch.empty(count).normal_(generator=torch.Generator().manual_seed(seed))
    assert Generator(seed).normal((count,)).tobytes() == expected.numpy().tobytes()


@needs_avx2
@given(seed=SEEDS, count=st.integers(1, 3000), hidden_size=st.integers(1, 4096))
def test_uniform_numbers_are_torchs_bit_for_bit(seed, count, hidden_size):
    bound = 1.0 / math.sqrt(hidden_size)
    expected = torch.empty(count).uniform_(-bound, bound, generator=torch.Generator().manual_seed(seed))
    assert Generator(seed).uniform((count,), hidden_size).tobytes() == expected.numpy().tobytes()


@needs_avx2
def test_a_million_numbers_are_torchs_bit_for_bit():
    generator, expected = Generator(7), torch.Generator().manual_seed(7)
    normal = torch.empty(1_000_003).normal_(generator=expected)
    assert generator.normal((1_000_003,)).tobytes() == normal.numpy().tobytes()
    uniform = torch.empty(1_000_003).uniform_(-0.125, 0.125, generator=expected)
    assert generator.uniform((1_000_003,), 64).tobytes() == uniform.numpy().tobytes()


@needs_avx2
def test_word_vectors_take_the_place_of_an_embedding():
    spec = NetworkSpec(symbol_count=5, hidden_size=4, seed=1, embedding_size=3, vectors="f" * 16)
    parameters = draw(spec)
    torch.manual_seed(1)
    assert parameters.embedding is None
    expected = torch.nn.RNN(3, 4).weight_ih_l0.detach().numpy()
    assert parameters.layers[0][0].weight_ih.tobytes() == expected.tobytes()


def a_matrix(size, seed=0):
    return Generator(seed).uniform((size, size), 1)


def lapack_radius(matrix):
    return np.abs(np.linalg.eigvals(matrix.astype(np.float64))).max()


@pytest.mark.parametrize(
    "size",
    [1, 2, 3, 16, 64, 129, 256, *(pytest.param(size, marks=pytest.mark.long) for size in (512, 1024))],
)
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 5))])
def test_the_spectral_radius_of_a_random_matrix_is_lapacks(size, seed):
    matrix = a_matrix(size, seed)
    assert spectral_radius(matrix) == pytest.approx(lapack_radius(matrix), rel=1e-12)


@pytest.mark.parametrize(
    "matrix",
    [
        pytest.param(np.zeros((40, 40)), id="zero"),
        pytest.param(np.diag(RANDOM.standard_normal(40)), id="diagonal"),
        pytest.param(np.triu(RANDOM.standard_normal((40, 40)), 1), id="upper nilpotent"),
        pytest.param(np.tril(RANDOM.standard_normal((40, 40)), -1), id="lower nilpotent"),
        pytest.param(np.eye(40) + np.eye(40, k=1), id="defective"),
        pytest.param(ORTHOGONAL, id="orthogonal"),
        pytest.param(np.roll(np.eye(40), 1, axis=0), id="cyclic"),
        pytest.param(ORTHOGONAL + ORTHOGONAL.T, id="symmetric"),
        pytest.param(ORTHOGONAL - ORTHOGONAL.T, id="skew-symmetric"),
        pytest.param(np.ones((40, 40)), id="of rank 1"),
        pytest.param(np.kron(np.eye(2), RANDOM.standard_normal((20, 20))), id="of two equal blocks"),
        pytest.param(RANDOM.standard_normal((40, 40)) * 1e37, id="huge"),
        pytest.param(RANDOM.standard_normal((40, 40)) * 1e-42, id="denormal"),
        pytest.param(RANDOM.standard_normal((40, 40)) * 10.0 ** -np.arange(40), id="graded"),
    ],
)
def test_the_spectral_radius_of_a_special_matrix_is_lapacks(matrix):
    matrix = matrix.astype(np.float32)
    assert spectral_radius(matrix) == pytest.approx(lapack_radius(matrix), rel=1e-11, abs=0)


@pytest.mark.parametrize("diagonal", [0, 1e-3])
@pytest.mark.parametrize("size", [3, 8, 64, 200])
def test_a_triangular_matrix_in_any_order_has_the_eigenvalues_of_its_diagonal(size, diagonal):
    """LAPACK finds rounding errors, such as 1e-4, where all are 0."""
    numbers = np.random.default_rng(size)
    matrix = np.triu(numbers.uniform(-1, 1, (size, size)), 1)
    matrix[numbers.random((size, size)) < 0.5] = 0
    np.fill_diagonal(matrix, numbers.uniform(-diagonal, diagonal, size))
    order = numbers.permutation(size)
    matrix = np.ascontiguousarray(matrix[np.ix_(order, order)], np.float32)
    assert spectral_radius(matrix) == np.abs(np.diag(matrix)).max()


@given(size=st.integers(2, 30), density=st.floats(0.01, 0.5), seed=SEEDS)
def test_a_sparse_matrix_is_scaled_only_by_eigenvalues_that_it_has(size, density, seed):
    generator = Generator(seed)
    matrix = generator.uniform((size, size), size)
    generator.mask(matrix, density)
    count, parts = connected_components(csr_array(matrix), connection="strong")
    blocks = (matrix[np.ix_(parts == part, parts == part)] for part in range(count))
    expected = max(map(lapack_radius, blocks))
    assert spectral_radius(matrix) == pytest.approx(expected, rel=1e-6, abs=0)


@pytest.mark.parametrize("radius", [0.01, 0.9, 5.0])
def test_a_matrix_is_scaled_by_one_factor(radius):
    matrix = a_matrix(40)
    scaled = matrix.copy()
    scale_to_radius(scaled, radius)
    assert lapack_radius(scaled) == pytest.approx(radius, rel=1e-6)
    assert scaled.tobytes() == (matrix * np.float32(radius / spectral_radius(matrix))).tobytes()


def test_a_matrix_of_zeros_stays_zero():
    matrix = np.zeros((2, 2), np.float32)
    scale_to_radius(matrix, 0.5)
    assert not matrix.any()


def test_scaling_ends_within_a_large_matrix_and_leaves_it_as_it_was():
    matrix = a_matrix(1024)
    stop = Stop(deadline_s=0.0)
    with pytest.raises(StoppedError):
        scale_to_radius(matrix, 0.5, stop)
    assert matrix.tobytes() == a_matrix(1024).tobytes()


def test_drawing_ends_before_the_next_matrix_when_it_is_stopped():
    with pytest.raises(StoppedError):
        draw(NetworkSpec(symbol_count=3, hidden_size=6, seed=2), Stop(deadline_s=0.0))


def test_only_the_recurrent_matrices_are_scaled():
    spec = NetworkSpec(symbol_count=3, hidden_size=6, seed=2, cell=Cell.GRU)
    plain = draw(spec).layers[0][0]
    reservoir = draw(NetworkSpec(symbol_count=3, hidden_size=6, seed=2, cell=Cell.GRU, spectral_radius=0.9))
    assert reservoir.layers[0][0].weight_ih.tobytes() == plain.weight_ih.tobytes()
    assert reservoir.layers[0][0].bias_hh.tobytes() == plain.bias_hh.tobytes()
    for block in plain.weight_hh.reshape(3, 6, 6):
        scale_to_radius(block, 0.9)
    assert reservoir.layers[0][0].weight_hh.tobytes() == plain.weight_hh.tobytes()
