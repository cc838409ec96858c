"""The networks and their states: everything that the server may use of the engine."""

from unrolled_server.engine.alphabet import Alphabet, DuplicateSymbolError, UnknownSymbolError
from unrolled_server.engine.engine import DEFAULT_STATE_MEMORY_BYTES, DeviceUnavailableError, Engine
from unrolled_server.engine.job import (
    Answer,
    AnswerTooLargeError,
    Job,
    Layout,
    NotWantedError,
    Output,
    ReplyForm,
    State,
)
from unrolled_server.engine.layers import layers_nbytes
from unrolled_server.engine.proof import ProofError
from unrolled_server.engine.spec import Cell, NetworkSpec, Nonlinearity, plain_network
from unrolled_server.engine.vector_rows import WordVectors
from unrolled_server.engine.words import EncodedWords

__all__ = [
    "DEFAULT_STATE_MEMORY_BYTES", "Alphabet", "Answer", "AnswerTooLargeError", "Cell",
    "DeviceUnavailableError", "DuplicateSymbolError", "EncodedWords", "Engine", "Job", "Layout",
    "NetworkSpec", "Nonlinearity", "NotWantedError", "Output", "ProofError", "ReplyForm", "State",
    "UnknownSymbolError", "WordVectors", "layers_nbytes", "plain_network",
]  # fmt: skip
