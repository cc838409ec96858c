"""What many tests share: one real server in this process, and a channel to it."""

import grpc
import pytest
from hypothesis import settings
from jaxtyping import install_import_hook

# Shapes in the engine's annotations are checked in every test; so the hook comes before the first import.
with install_import_hook("unrolled_server.engine", "beartype.beartype"):
    from unrolled_server.config import Settings
    from unrolled_server.lifecycle import running_server


# --hypothesis-profile=long tries many more cases of every property.
settings.register_profile("long", max_examples=2_000, deadline=None)


@pytest.fixture(scope="session", autouse=True)
def _vectors_cache(tmp_path_factory):
    """Servers that tests start convert word vectors into a directory of the run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNROLLED_VECTORS_CACHE", str(tmp_path_factory.mktemp("vectors")))
        yield


@pytest.fixture(scope="session")
def server_address(_vectors_cache):
    """HOST:PORT of a server with default settings on a free loopback port."""
    with running_server(Settings(address="127.0.0.1:0")) as server:
        yield server.address


@pytest.fixture
def channel(server_address):
    """A plain gRPC channel to the server, for tests of the contract rather than of the SDK."""
    with grpc.insecure_channel(server_address, options=[("grpc.max_receive_message_length", -1)]) as channel:
        yield channel
