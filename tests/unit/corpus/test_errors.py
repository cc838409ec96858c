"""Errors of the file system."""

import pytest

pytest.importorskip("pyarrow")

from unrolled_corpus.errors import describe_os_error

pytestmark = pytest.mark.corpus


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), OSError("[Errno 28] No space left on device")]
)
def test_a_full_disk_is_reported_with_the_remedy(error):
    assert "No space left on device; put that right" in str(describe_os_error(error))
