"""Imports helpers of the tests, so that benchmarks and tests start the same clusters."""

import importlib
import sys
from pathlib import Path
from types import ModuleType


def import_test_module(name: str) -> ModuleType:
    """Returns the module `tests.NAME`."""
    root = str(Path(__file__).parents[1])  # a script has only its own folder on the path
    if root not in sys.path:
        sys.path.append(root)
    return importlib.import_module(f"tests.{name}")
