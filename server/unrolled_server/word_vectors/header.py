"""What a converted file says of itself: a record with a checksum, and from it where each section lies."""

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

_MAGIC = b"unrolled vectors"
# Raised with every change of what is stored, of the digest, or of how the text is read.
_VERSION = 2
_RECORD = struct.Struct("<16s6q16s")
_CHECKSUM = struct.Struct("<I")
_SECTIONS_START = 4096  # a page
_ALIGNMENT_BYTES = 64  # a cache line


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What a text file was when it was converted; with another size or time of change it is another file."""

    source_bytes: int
    source_mtime_ns: int

    @classmethod
    def of(cls, source: Path) -> "Origin":
        """What `source` is now; raises OSError."""
        status = source.stat()
        return cls(source_bytes=status.st_size, source_mtime_ns=status.st_mtime_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Where an array lies in the file; `start` and `stop` are in bytes."""

    start: int
    dtype: npt.DTypeLike
    shape: tuple[int, ...]

    @property
    def stop(self) -> int:
        """One past the last byte."""
        return self.start + int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Counts, digest and origin of a converted file; `text_bytes` is the length of all words together."""

    word_count: int
    size: int
    text_bytes: int
    digest: str
    origin: Origin

    def pack(self) -> bytes:
        """The file's first bytes."""
        numbers = (_VERSION, self.word_count, self.size, self.text_bytes)
        origin = (self.origin.source_bytes, self.origin.source_mtime_ns)
        record = _RECORD.pack(_MAGIC, *numbers, *origin, self.digest.encode())
        return record + _CHECKSUM.pack(zlib.crc32(record))

    @classmethod
    def unpack(cls, packed: bytes) -> "Header | None":
        """The header in a file's first bytes; None if they are no header of this version."""
        record, checksum = packed[: _RECORD.size], packed[_RECORD.size :]
        if not record.startswith(_MAGIC) or checksum != _CHECKSUM.pack(zlib.crc32(record)):
            return None
        _, version, word_count, size, text_bytes, source_bytes, mtime_ns, digest = _RECORD.unpack(record)
        if version != _VERSION:
            return None
        origin = Origin(source_bytes=source_bytes, source_mtime_ns=mtime_ns)
        return cls(
            word_count=word_count, size=size, text_bytes=text_bytes, digest=digest.decode(), origin=origin
        )

    def sections(self) -> dict[str, Section]:
        """The arrays in the order of the file, which ends with the last one."""
        arrays = {
            "rows": ("<f4", (self.word_count, self.size)),
            "mean": ("<f4", (self.size,)),
            "hashes": ("<u4", (self.word_count,)),
            "order": ("<i4", (self.word_count,)),
            "offsets": ("<i8", (self.word_count + 1,)),
            "text": ("u1", (self.text_bytes,)),
        }
        sections: dict[str, Section] = {}
        start = _SECTIONS_START
        for name, (dtype, shape) in arrays.items():
            sections[name] = Section(start=start, dtype=dtype, shape=shape)
            start = -(-sections[name].stop // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
        return sections


HEADER_BYTES = _RECORD.size + _CHECKSUM.size
ROWS_START = _SECTIONS_START
