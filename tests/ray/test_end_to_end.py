"""The end-to-end tests, and those of the contract, asked of Ray Serve: see conftest.py for whom they ask."""

import pytest

from tests.integration.server.test_service import *  # noqa: F403 - the same tests
from tests.integration.test_end_to_end import *  # noqa: F403 - the same tests

pytestmark = pytest.mark.ray
