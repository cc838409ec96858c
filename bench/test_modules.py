"""Imports helpers of the tests, so that benchmarks start what tests start."""

import importlib
import sys
from pathlib import Path
from types import ModuleType


def import_test_module(name: str) -> ModuleType:
    """Returns the module `tests.NAME`."""
    root = str(Path(__file__).parents[1])  # a benchmark that is run by its path has only its own folder
    if root not in sys.path:
        sys.path.append(root)
    return importlib.import_module(f"tests.{name}")
