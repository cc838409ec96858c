"""Types of numpy arrays with their shapes, for annotations.

Tests check the shapes by jaxtyping. It takes as long to import as numpy, so nothing here imports it first.
"""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING or sys.modules.get("jaxtyping") is None:
    from typing import Annotated as Float32
    from typing import Annotated as Int32
    from typing import Annotated as UInt32
else:
    from jaxtyping import Float32, Int32, UInt32

__all__ = ["Float32", "Int32", "UInt32"]
