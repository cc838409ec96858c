"""Here the server that tests ask is Ray Serve."""

import pytest


@pytest.fixture(scope="session")
def server_address(ray_cluster):
    """HOST:PORT of Serve's proxy, in the place of our own server's."""
    return ray_cluster.address
