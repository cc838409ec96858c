"""Fixtures of the engine tests."""

import pytest
from unrolled_server.engine import Engine


@pytest.fixture(scope="session")
def engine():
    """A shared engine; earlier jobs do not affect its answers."""
    return Engine(device="cpu")
