import pytest
import torch
from unrolled_server.engine import proof
from unrolled_server.engine.cells import Advance, Block, advance_by_torch, kernels
from unrolled_server.engine.proof import Proof, ProofError, find_rule
from unrolled_server.engine.weights import Weights

CPU = torch.device("cpu")


@pytest.mark.parametrize("width", [16, 48, 256, 1024])
def test_this_machine_has_a_floor_above_which_a_rows_bits_are_constant(width: int) -> None:
    assert find_rule(width, CPU).floor <= 64


def test_a_width_is_proved_once() -> None:
    proofs = Proof(CPU)
    assert proofs.stepper(16) is proofs.stepper(16)


def disturbed_below(rows: int) -> Advance:
    """Returns a kernel whose products of fewer rows have different bits, as small products may."""

    def advance(block: Block, weights: Weights) -> None:
        advance_by_torch(block, weights)
        if len(block.sums) < rows:
            block.sums.mul_(1 + 2**-22)

    return advance


def use_kernels(monkeypatch: pytest.MonkeyPatch, *advances: Advance) -> None:
    monkeypatch.setattr(proof, "kernels", lambda _width, _device: advances)


@pytest.mark.parametrize("width", [16, 32, 48, 256])
def test_a_rule_uses_a_kernel_of_its_width(width: int) -> None:
    assert find_rule(width, CPU).advance in kernels(width, CPU)


def test_the_floor_is_above_every_row_count_that_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    use_kernels(monkeypatch, disturbed_below(11))
    assert find_rule(64, CPU).floor == 16


def test_a_kernel_without_a_floor_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    use_kernels(monkeypatch, disturbed_below(200), advance_by_torch)
    assert find_rule(64, CPU).advance is advance_by_torch


def test_the_first_kernel_with_a_floor_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    first = disturbed_below(11)
    use_kernels(monkeypatch, first, advance_by_torch)
    assert find_rule(64, CPU).advance is first


def test_without_a_floor_products_run_in_fixed_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    use_kernels(monkeypatch, disturbed_below(200), disturbed_below(250))
    rule = find_rule(64, CPU)
    assert rule.floor == rule.multiple == rule.max_rows == 64


def test_a_machine_whose_bits_depend_on_the_position_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def advance(block: Block, _weights: Weights) -> None:
        block.sums.mul_(torch.arange(1, len(block.sums) + 1)[:, None])

    use_kernels(monkeypatch, advance)
    with pytest.raises(ProofError, match="other places"):
        find_rule(64, CPU)
