import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from unrolled_server.engine.spec import NetworkSpec

from .torch_reference import specs, torch_modules

int64s = st.integers(-(2**63), 2**63 - 1)


def first_draw(seed: int) -> float:
    return torch.rand(1, generator=torch.Generator().manual_seed(seed)).item()


@given(int64s)
def test_the_reduced_seed_draws_the_same_weights_as_the_full_seed(seed: int) -> None:
    assert first_draw(NetworkSpec(symbol_count=3, hidden_size=4, seed=seed).seed) == first_draw(seed)


@given(int64s)
def test_seeds_with_the_same_low_32_bits_are_one_network(seed: int) -> None:
    spec = NetworkSpec(symbol_count=3, hidden_size=4, seed=seed)
    twin = NetworkSpec(symbol_count=3, hidden_size=4, seed=seed & 0xFFFF_FFFF)
    assert spec == twin
    assert hash(spec) == hash(twin)


@pytest.mark.parametrize("change", [{"symbol_count": 4}, {"hidden_size": 5}, {"seed": 1}])
def test_each_option_that_changes_the_weights_changes_the_key(change: dict[str, int]) -> None:
    sizes = {"symbol_count": 3, "hidden_size": 4, "seed": 0}
    assert NetworkSpec(**sizes) != NetworkSpec(**(sizes | change))


@given(specs())
def test_the_size_of_the_parameters_is_torchs(spec: NetworkSpec) -> None:
    vectors, network = torch_modules(spec)
    drawn = 0 if vectors is None or spec.vectors else vectors.nbytes
    assert spec.parameter_nbytes == drawn + sum(parameter.nbytes for parameter in network.parameters())
