"""Golden replies have the same bits on every CPU; a core that gives others is refused."""

from pathlib import Path

import pytest
from unrolled_server.engine import CoreError, Engine, engine
from unrolled_server.engine.golden import GOLDEN_FINGERPRINT


def test_the_fingerprint_of_a_cpu_is_the_golden_one():
    checked = Engine(device="cpu")
    checked.verify()
    assert checked.fingerprint == GOLDEN_FINGERPRINT
    assert checked.network_count == 0


def test_the_page_on_the_arithmetic_names_the_fingerprint():
    page = Path(__file__).parents[4] / "docs" / "background" / "batch-invariance.md"
    assert f"\n{GOLDEN_FINGERPRINT}\n" in page.read_text()


def test_the_fingerprint_does_not_depend_on_the_budget():
    small = Engine(device="cpu", state_memory_bytes=1)
    small.verify()
    assert small.fingerprint == GOLDEN_FINGERPRINT


def test_a_core_that_gives_other_bits_is_refused(monkeypatch):
    monkeypatch.setattr(engine, "GOLDEN_FINGERPRINT", "0123456789abcdef")
    with pytest.raises(CoreError, match=f"{GOLDEN_FINGERPRINT}, not 0123456789abcdef; build it again"):
        Engine(device="cpu").verify()
