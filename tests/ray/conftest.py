"""Replaces the shared server by Ray Serve."""

import pytest


@pytest.fixture(scope="session")
def server_address(ray_cluster):
    """HOST:PORT of Serve's proxy, instead of our own server's."""
    return ray_cluster.address
