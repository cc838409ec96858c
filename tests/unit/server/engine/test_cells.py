import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from unrolled_server.engine.cells import (
    ACTIVATION_BLOCK,
    Advance,
    RowRule,
    Stepper,
    advance_by_torch,
    kernels,
    row_multiple,
)
from unrolled_server.engine.prefix_tree import Step
from unrolled_server.engine.spec import NetworkSpec
from unrolled_server.engine.states import StateTable
from unrolled_server.engine.weights import draw_weights, padded_width

CPU = torch.device("cpu")


@given(st.integers(1, 256), st.integers(1, 300))
def test_activations_run_over_whole_blocks(row_count: int, hidden_size: int) -> None:
    width = padded_width(hidden_size)
    rule = RowRule(advance=advance_by_torch, floor=4, multiple=row_multiple(width), max_rows=256)
    assert rule.padded(row_count) * width % ACTIVATION_BLOCK == 0
    assert row_count <= rule.padded(row_count)


@pytest.mark.parametrize("on_cpu", [True, False])
@pytest.mark.parametrize("advance", kernels(16, CPU))
@pytest.mark.parametrize("hidden_size", [2, 16, 20])
@pytest.mark.parametrize("row_count", [1, 3, 8, 21])
def test_a_step_computes_tanh_of_input_row_and_recurrent_product(
    row_count: int, hidden_size: int, advance: Advance, on_cpu: bool
) -> None:
    spec = NetworkSpec(symbol_count=6, hidden_size=hidden_size, seed=3)
    weights, table = draw_weights(spec, CPU), StateTable(hidden_size, CPU)
    table.grow(64)
    table.rows[1:32] = torch.rand(31, hidden_size)
    if not on_cpu:
        table.is_on_cpu = False  # take the code path of other devices
    parents = [(7 * row) % 32 for row in range(row_count)]
    symbols = [row % 6 for row in range(row_count)]
    width = padded_width(hidden_size)
    rule = RowRule(advance=advance, floor=8, multiple=row_multiple(width), max_rows=8)
    Stepper(width=width, rule=rule, device=CPU).run([Step(40, parents, symbols)], weights, table)
    product = table.rows[parents] @ weights.recurrent[:hidden_size, :hidden_size]
    expected = torch.tanh(weights.input_table[symbols, :hidden_size] + product)
    torch.testing.assert_close(table.rows[40 : 40 + row_count], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("width", [16, 64])
def test_other_devices_have_torchs_kernel_only(width: int) -> None:
    assert kernels(width, torch.device("meta")) == (advance_by_torch,)


@pytest.mark.parametrize("advance", kernels(16, CPU))
def test_networks_that_share_a_stepper_do_not_affect_each_other(advance: Advance) -> None:
    """A wide network must not change the bits of a later narrow one through the shared scratch."""
    rule = RowRule(advance=advance, floor=4, multiple=4, max_rows=64)
    results = []
    for hidden_sizes in ([9], [16, 9]):
        stepper = Stepper(width=16, rule=rule, device=CPU)
        for hidden_size in hidden_sizes:
            weights = draw_weights(NetworkSpec(symbol_count=2, hidden_size=hidden_size, seed=1), CPU)
            table = StateTable(hidden_size, CPU)
            table.grow(64)
            for row in range(5):
                stepper.run([Step(row + 1, [row], [row % 2])], weights, table)
        results.append(table.rows[:6].clone())
    assert torch.equal(*results)
