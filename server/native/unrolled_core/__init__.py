"""The native core of Unrolled's server, as a shared library for ctypes."""

import sys
from pathlib import Path

__version__ = "0.1.0"

LIBRARY = Path(__file__).with_name(
    "libunrolled_core.dylib" if sys.platform == "darwin" else "libunrolled_core.so"
)
