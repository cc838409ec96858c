"""A Ray cluster of two machines."""

import pytest

from tests.support.two_machines import two_machines as running_machines


@pytest.fixture(scope="module")
def two_machines():
    with running_machines() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def cluster_address(two_machines):
    return two_machines.address
