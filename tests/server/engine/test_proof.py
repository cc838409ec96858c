import pytest
import torch
from torch import Tensor
from unrolled_server.engine import proof
from unrolled_server.engine.proof import Proof, ProofError, find_rule

CPU = torch.device("cpu")


@pytest.mark.parametrize("width", [16, 48, 256, 1024])
def test_this_machine_keeps_a_rows_bits_above_some_floor(width: int) -> None:
    assert find_rule(width, CPU).floor <= 64


def test_a_width_is_proved_once() -> None:
    proofs = Proof(CPU)
    assert proofs.stepper(16) is proofs.stepper(16)


def disturb_below(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes products of fewer rows give other bits, as kernels for small products do."""
    true_advance = proof.advance

    def advance(states: Tensor, sums: Tensor, recurrent: Tensor) -> None:
        true_advance(states, sums, recurrent)
        if len(sums) < rows:
            sums.mul_(1 + 2**-22)

    monkeypatch.setattr(proof, "advance", advance)


def test_the_floor_is_above_every_row_count_that_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    disturb_below(11, monkeypatch)
    assert find_rule(64, CPU).floor == 16


def test_where_no_floor_holds_products_run_in_fixed_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    disturb_below(200, monkeypatch)
    rule = find_rule(64, CPU)
    assert rule.floor == rule.multiple == rule.max_rows == 64


def test_a_machine_whose_bits_depend_on_the_place_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def advance(states: Tensor, sums: Tensor, recurrent: Tensor) -> None:
        sums.mul_(torch.arange(1, len(sums) + 1)[:, None])

    monkeypatch.setattr(proof, "advance", advance)
    with pytest.raises(ProofError, match="other places"):
        find_rule(64, CPU)
