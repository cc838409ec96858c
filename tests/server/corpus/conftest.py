"""One cluster of two machines for the tests of the command."""

import pytest

from tests.two_machines import two_machines as running_machines


@pytest.fixture(scope="module")
def two_machines():
    with running_machines() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def cluster_address(two_machines):
    return two_machines.address
