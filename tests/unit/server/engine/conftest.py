"""Fixtures of the engine tests."""

import pytest
import torch
from unrolled_server.engine import Engine


@pytest.fixture(autouse=True)
def one_thread():
    """Limits torch to one intra-op thread, as the server does."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def engine():
    """A shared engine; earlier jobs do not affect its answers."""
    engine = Engine(device="cpu")
    engine.prove()
    return engine
