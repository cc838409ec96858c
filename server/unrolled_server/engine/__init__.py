"""The networks and their states: everything that the server may use of the engine."""

from unrolled_server.engine.alphabet import Alphabet, DuplicateSymbolError, UnknownSymbolError
from unrolled_server.engine.core import CoreError, InstructionSetError
from unrolled_server.engine.engine import DEFAULT_STATE_MEMORY_BYTES, Engine
from unrolled_server.engine.job import (
    Answer,
    AnswerTooLargeError,
    Job,
    Layout,
    NotWantedError,
    Output,
    ReplyForm,
    State,
    Stop,
    StoppedError,
    drawing_multiplications,
)
from unrolled_server.engine.network import DeviceUnavailableError, DeviceUnstableError
from unrolled_server.engine.spec import (
    RANDOM_WORD_SYMBOLS,
    Cell,
    NetworkSpec,
    Nonlinearity,
    WordVectors,
    plain_network,
)
from unrolled_server.engine.words import EncodedWords

__all__ = [
    "DEFAULT_STATE_MEMORY_BYTES",
    "RANDOM_WORD_SYMBOLS",
    "Alphabet",
    "Answer",
    "AnswerTooLargeError",
    "Cell",
    "CoreError",
    "DeviceUnavailableError",
    "DeviceUnstableError",
    "DuplicateSymbolError",
    "EncodedWords",
    "Engine",
    "InstructionSetError",
    "Job",
    "Layout",
    "NetworkSpec",
    "Nonlinearity",
    "NotWantedError",
    "Output",
    "ReplyForm",
    "State",
    "Stop",
    "StoppedError",
    "UnknownSymbolError",
    "WordVectors",
    "drawing_multiplications",
    "plain_network",
]  # fmt: skip
