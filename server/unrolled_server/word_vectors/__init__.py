"""Tables of word vectors: files that are converted once and then mapped, or words and a matrix in memory."""

from unrolled_server.word_vectors.blocks import VectorsError
from unrolled_server.word_vectors.table import VectorTable, open_vectors, table_in_memory

__all__ = ["VectorTable", "VectorsError", "open_vectors", "table_in_memory"]
