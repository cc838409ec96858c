# What `__getattr__` finds, for type checkers.
from unrolled_client import *  # noqa: F403 - all that its __all__ lists
from unrolled_client import __all__ as __all__

__version__: str
