"""The three passes in this process, and one cluster of two machines for the tests of the command."""

from functools import partial

import pytest

from tests.support.two_machines import two_machines as running_machines


@pytest.fixture
def run_passes(tmp_path):
    """A function that runs the passes over texts or a file, with changed parameters."""
    from tests.integration.corpus.passes import run_in  # noqa: PLC0415 - it needs pyarrow, which the quick suite does without

    return partial(run_in, tmp_path)


@pytest.fixture(scope="module")
def two_machines():
    with running_machines() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def cluster_address(two_machines):
    return two_machines.address
