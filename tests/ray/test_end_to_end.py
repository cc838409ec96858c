"""Runs the end-to-end and contract tests against Ray Serve (see conftest.py)."""

import pytest

from tests.integration.server.test_service import *  # noqa: F403 - the same tests
from tests.integration.test_end_to_end import *  # noqa: F403 - the same tests

pytestmark = pytest.mark.ray
