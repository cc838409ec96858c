"""Fixtures of the corpus tests: a Ray cluster of two machines, and the three passes in this process."""

from functools import partial

import pytest

from tests.support.two_machines import two_machines as running_machines


@pytest.fixture(scope="module")
def two_machines():
    with running_machines() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def cluster_address(two_machines):
    return two_machines.address


@pytest.fixture
def run_passes(tmp_path):
    """A function that runs the passes over texts or a file, with changed parameters."""
    from tests.support.corpus.passes import run_in  # noqa: PLC0415 - it needs pyarrow, which the quick suite lacks

    return partial(run_in, tmp_path)
