"""What the engine's tests share."""

import pytest
import torch
from unrolled_server.engine import Engine


@pytest.fixture(autouse=True)
def one_thread():
    """As in the server: one intra-op thread."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def engine():
    """An engine that many tests share, which is what its promises allow."""
    engine = Engine(device="cpu")
    engine.prove()
    return engine
