"""Files of word vectors: which format a file has, how it is unpacked, and when it has changed."""

import bz2
import contextlib
import gzip
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from unrolled_server.word_vectors.binary_format import BinaryVectors
from unrolled_server.word_vectors.blocks import Vectors, VectorsError
from unrolled_server.word_vectors.matrix import MatrixError, open_matrix, word_list_of
from unrolled_server.word_vectors.text_format import TextVectors

_BINARY_NAME = re.compile(r"\.bin(\.gz|\.bz2|\.xz)?$", re.IGNORECASE)
_OPENERS: dict[bytes, Callable[[BinaryIO], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
}
_BZIP2_BLOCK = b"1AY&SY"  # follows the compression level; a word of a text may begin with BZh
_REFUSED = {
    b"PK\x03\x04": "is a zip archive; unpack it and name one of its files",
    b"\x28\xb5\x2f\xfd": "is a zstd file; unpack it by zstd -d",
    b"\xff\xfe": "is UTF-16 text; convert it by iconv -f UTF-16 -t UTF-8",
    b"\xfe\xff": "is UTF-16 text; convert it by iconv -f UTF-16 -t UTF-8",
    b"\x93NUMPY": "is an array of numpy; name it X.npy, and the list of its words X.txt",
    b"\xba\x16\x4f\x2f": "is a model of fastText; give its .vec file",
}
_MAGIC_BYTES = 10


def source_identity(source: Path) -> tuple[int, ...]:
    """Returns size and modification time of a file, and of the word list of a .npy file; raises OSError.

    If one of them changes, the file is converted again.
    """
    files = [source, word_list_of(source)] if _is_matrix(source) else [source]
    return tuple(number for file in files for number in (file.stat().st_size, file.stat().st_mtime_ns))


@contextlib.contextmanager
def open_source(source: Path) -> Iterator[Vectors]:
    """Opens a file by the ending of its name: .npy, .bin (word2vec's binary format), or else text.

    Raises:
        VectorsError: The file is malformed, also later while it is read.
    """
    if _is_matrix(source):
        try:
            yield open_matrix(source)
        except MatrixError as error:
            raise VectorsError(f"{source}: {error}") from None
        return
    reader = BinaryVectors if _BINARY_NAME.search(source.name) else TextVectors
    with source.open("rb") as file, _decompressed(file, source=source) as content:
        yield reader(content, source=source)


def _is_matrix(source: Path) -> bool:
    return source.suffix.lower() == ".npy"


@contextlib.contextmanager
def _decompressed(file: BinaryIO, *, source: Path) -> Iterator[BinaryIO]:
    """Opens the content of a file, which may be compressed by gzip, bzip2 or xz; its first bytes show which.

    Raises:
        VectorsError: The file is of another kind, or is damaged or cut off.
    """
    start = file.read(_MAGIC_BYTES)
    file.seek(0)
    for magic, reason in _REFUSED.items():
        if start.startswith(magic):
            raise VectorsError(f"{source} {reason}")
    opener = next((opener for magic, opener in _OPENERS.items() if start.startswith(magic)), None)
    if opener is None or (opener is bz2.open and start[4:] != _BZIP2_BLOCK):
        yield file
        return
    try:
        with opener(file) as content:
            yield content
    except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # an error of the disk, not of the compressed data
        raise VectorsError(
            f"{source} cannot be unpacked: {error}; it is damaged or was cut off: fetch it again"
        ) from None
