"""What the tests start and benchmarks start too, so that what is measured is what is tested."""

import importlib
import sys
from pathlib import Path
from types import ModuleType


def tested(name: str) -> ModuleType:
    """The module of the tests with this name."""
    root = str(Path(__file__).parents[1])  # a benchmark that is run by its path has only its own folder
    if root not in sys.path:
        sys.path.append(root)
    return importlib.import_module(f"tests.{name}")
