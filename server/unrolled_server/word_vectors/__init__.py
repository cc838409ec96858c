"""Tables of word vectors: text files as people have them, converted once, then mapped into memory.

A package of its own, which knows numpy and no torch, no gRPC: opening a table must cost milliseconds.
"""

from unrolled_server.word_vectors.errors import VectorsError
from unrolled_server.word_vectors.table import VectorTable, open_vectors

__all__ = ["VectorTable", "VectorsError", "open_vectors"]
