"""A table of word vectors, open for look-ups."""

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from unrolled_server.word_vectors.conversion import Conversion
from unrolled_server.word_vectors.errors import VectorsError
from unrolled_server.word_vectors.header import Origin
from unrolled_server.word_vectors.mapped_file import Converted, open_converted
from unrolled_server.word_vectors.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VectorTable:
    """Words and their vectors, mapped read-only, so processes share the memory and threads need no lock.

    Attributes:
        name: What requests call it.
        word_count: Distinct words; of lines with one word the first counts.
        size: Values in each vector.
        digest: 16 hexadecimal digits over words and values: the same for the same content, wherever it lies
            and whatever its format.
        rows: (word_count, size) float32, C order, in the order of the file; a numpy.memmap.
        mean: (size,) float32: the mean of all rows, summed in float64 in their order.
    """

    name: str
    word_count: int
    size: int
    digest: str
    rows: npt.NDArray[np.float32]
    mean: npt.NDArray[np.float32]
    _vocabulary: Vocabulary

    def find(self, words: Sequence[str]) -> npt.NDArray[np.int32]:
        """The row of each word, (len(words),) int32, -1 where it is unknown. Case and accents count."""
        return self._vocabulary.find(words)


def open_vectors(
    name: str, source: Path, *, cache_directory: Path, stop: threading.Event | None = None
) -> VectorTable:
    """Opens the converted form of a text file, in milliseconds; makes it first where there is none.

    The converted form lies in `cache_directory` under a name made of the source's path. It is current while
    the source has the size and the time of change that it had. Nobody may write into it while it is open.
    Setting `stop`, from another thread, gives a conversion up within a second or two.

    Raises:
        VectorsError: The source cannot be read or is malformed, the cache cannot be written, or `stop` was
            set.
    """
    try:
        origin = Origin.of(source)
    except OSError as error:
        raise VectorsError(f"{source} cannot be read: {error.strerror}") from None
    target = cache_directory / _file_name(source)
    converted = open_converted(target, origin=origin)
    if converted is None:
        stop = stop or threading.Event()
        Conversion(source=source, target=target, origin=origin, stop=stop).run()
        converted = open_converted(target, origin=origin)
    if converted is None:
        raise VectorsError(f"{target} was removed or replaced when it had just been made; start again")
    return _table(name, converted)


def _file_name(source: Path) -> str:
    """One name for each path: its last part, to be told by people, and a digest of the whole."""
    path = source.resolve()
    digest = hashlib.blake2b(bytes(path), digest_size=8).hexdigest()
    return f"{path.name[:100]}-{digest}.vectors"


def _table(name: str, converted: Converted) -> VectorTable:
    return VectorTable(
        name=name,
        word_count=converted.header.word_count,
        size=converted.header.size,
        digest=converted.header.digest,
        rows=converted.rows,
        mean=converted.mean,
        _vocabulary=converted.vocabulary,
    )
