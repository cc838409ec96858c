"""Opens a file of word vectors as text, whether it is packed or not; its first bytes say so, not its name."""

import bz2
import contextlib
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from unrolled_server.word_vectors.errors import VectorsError

_OPENERS: dict[bytes, Callable[[BinaryIO], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
}
_BZIP2_BLOCK = b"1AY&SY"  # follows the level; a word of a text may begin with BZh
_REFUSED = {
    b"PK\x03\x04": "is a zip archive; unpack it and name one of its files",
    b"\x28\xb5\x2f\xfd": "is a zstd file; unpack it by zstd -d",
    b"\xff\xfe": "is UTF-16 text; convert it by iconv -f UTF-16 -t UTF-8",
    b"\xfe\xff": "is UTF-16 text; convert it by iconv -f UTF-16 -t UTF-8",
}
_START_BYTES = 10


@contextlib.contextmanager
def unpacked(file: BinaryIO, *, source: Path) -> Iterator[BinaryIO]:
    """Gives the text that `file` holds, unpacked if it is a gzip, bzip2 or xz file.

    Raises:
        VectorsError: It is another kind of archive, or what is packed is damaged or cut off.
    """
    start = file.read(_START_BYTES)
    file.seek(0)
    for magic, reason in _REFUSED.items():
        if start.startswith(magic):
            raise VectorsError(f"{source} {reason}")
    opener = next((opener for magic, opener in _OPENERS.items() if start.startswith(magic)), None)
    if opener is None or (opener is bz2.open and start[4:] != _BZIP2_BLOCK):
        yield file
        return
    try:
        with opener(file) as text:
            yield text
    except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # a disk's error, not the packed content's
        raise VectorsError(
            f"{source} cannot be unpacked: {error}; it is damaged or was cut off: fetch it again"
        ) from None
