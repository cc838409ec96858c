"""Tables of word vectors: text files that are converted once and then mapped into memory."""

from unrolled_server.word_vectors.table import VectorTable, open_vectors
from unrolled_server.word_vectors.text_format import VectorsError

__all__ = ["VectorTable", "VectorsError", "open_vectors"]
