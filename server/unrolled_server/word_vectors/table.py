"""A table of word vectors, open for look-ups."""

import hashlib
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from unrolled_server.word_vectors.blocks import VectorsError
from unrolled_server.word_vectors.conversion import Conversion
from unrolled_server.word_vectors.mapped_file import open_folder
from unrolled_server.word_vectors.matrix import MatrixVectors, encoded_words
from unrolled_server.word_vectors.source_file import source_identity
from unrolled_server.word_vectors.summary import Summary
from unrolled_server.word_vectors.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VectorTable:
    """Words and their vectors, read-only, so threads need no lock; processes share the memory of a file's.

    Attributes:
        word_count: Distinct words; if several vectors have the same word, the first counts.
        digest: 16 hexadecimal digits over words and values, whatever their place and format.
        rows: (word_count, size), C order, in the order of the source; of a file a numpy.memmap.
        mean: (size,), the mean of all rows, summed in float64 in their order.
    """

    name: str
    word_count: int
    size: int
    digest: str
    rows: npt.NDArray[np.float32]
    mean: npt.NDArray[np.float32]
    _vocabulary: Vocabulary

    def find(self, words: Sequence[str]) -> npt.NDArray[np.int32]:
        """Returns the row of each word, (len(words),), -1 where it is unknown. Case and accents count."""
        return self._vocabulary.find(words)


def open_vectors(
    name: str, source: Path, *, cache_directory: Path, stop: threading.Event | None = None
) -> VectorTable:
    """Opens the converted form of a file in about a millisecond; converts the file first if needed.

    The converted form is current while the source keeps its `source_identity`. Setting `stop` from
    another thread cancels a conversion within a second or two.

    Raises:
        VectorsError: The source cannot be read or is malformed, the cache cannot be written, or `stop` was
            set.
    """
    try:
        identity = source_identity(source)
    except OSError as error:
        listing = "" if error.filename == str(source) else f"; it must list the words of {source}, one a line"
        raise VectorsError(f"{error.filename} cannot be read: {error.strerror}{listing}") from None
    folder = cache_directory / _folder_name(source)
    mapped = open_folder(folder, identity)
    if mapped is None:
        stop = stop or threading.Event()
        Conversion(source=source, target=folder, identity=identity, stop=stop).run()
        mapped = open_folder(folder, identity)
    if mapped is None:
        raise VectorsError(f"{folder} was removed or replaced when it had just been made; start again")
    meta, arrays = mapped
    # Look-ups in a plain array cost less than in a numpy.memmap.
    index = {field: np.asarray(arrays[field]) for field in Vocabulary._fields}
    return VectorTable(
        name=name,
        word_count=meta.word_count,
        size=meta.size,
        digest=meta.digest,
        rows=arrays["rows"],
        mean=np.asarray(arrays["mean"]),
        _vocabulary=Vocabulary(**index),
    )


def table_in_memory(name: str, words: Iterable[str], matrix: npt.ArrayLike) -> VectorTable:
    """Returns the table, digest included, that a file with these words and rows would give.

    A matrix of float32 in C order is used without a copy unless words repeat, so it must not change.

    Raises:
        TypeError: A word is not a str.
        ValueError: The matrix does not fit, or words or values are not allowed.
    """
    try:
        values = np.asarray(matrix)
        vectors = MatrixVectors(encoded_words(words), values)
        summary = Summary(vectors.size)
        blocks = [summary.add(block) for block in vectors.blocks()]
    except (TypeError, ValueError) as error:
        raise type(error)(f"vectors {name!r}: {error}") from None
    summary.log_oddities(f"vectors {name!r}")
    is_usable = values.dtype == np.float32 and values.flags.c_contiguous and values.flags.aligned
    is_distinct = len(summary.words) == len(values)
    rows = values.view() if is_usable and is_distinct else np.concatenate(blocks)
    rows.flags.writeable = False
    return VectorTable(
        name=name,
        word_count=len(rows),
        size=vectors.size,
        digest=summary.digest,
        rows=rows,
        mean=summary.mean,
        _vocabulary=Vocabulary.of(list(summary.words)),
    )


def _folder_name(source: Path) -> str:
    """Returns one name for each path: its last part, which people recognize, and a digest of the whole."""
    path = source.resolve()
    digest = hashlib.blake2b(bytes(path), digest_size=8).hexdigest()
    return f"{path.name[:100]}-{digest}.table"
