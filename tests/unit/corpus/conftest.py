"""The three passes of a job in this process."""

from functools import partial

import pytest


@pytest.fixture
def run_passes(tmp_path):
    """A function that runs the passes over texts or a file, with changed parameters."""
    from tests.support.corpus.passes import run_in  # noqa: PLC0415 - it needs pyarrow, which the quick suite lacks

    return partial(run_in, tmp_path)
