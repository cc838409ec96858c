"""The computation, and the only place that imports torch. It knows no gRPC and no contract."""

from unrolled_server.engine.alphabet import Alphabet, EncodedWords, UnknownSymbolError
from unrolled_server.engine.device import CHOICES, DeviceUnavailableError
from unrolled_server.engine.engine import Answer, Engine
from unrolled_server.engine.spec import Job, Layout, NetworkSpec

__all__ = [
    "CHOICES",
    "Alphabet",
    "Answer",
    "DeviceUnavailableError",
    "EncodedWords",
    "Engine",
    "Job",
    "Layout",
    "NetworkSpec",
    "UnknownSymbolError",
]
