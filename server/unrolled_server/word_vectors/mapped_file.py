"""The converted form of a vectors file: a folder of .npy files, which all processes map, and meta.json."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from unrolled_server.word_vectors.text_format import Block
from unrolled_server.word_vectors.vocabulary import Vocabulary

# Increase it with every change of the arrays, of the digest, or of how the text is read.
FORMAT_VERSION = 3
_META = "meta.json"
_DIGEST_BYTES = 8

Arrays = dict[str, npt.NDArray[Any]]


class SourceIdentity(NamedTuple):
    """Size and modification time of a text file; if one of them changes, the file is converted again."""

    byte_count: int
    mtime_ns: int

    @classmethod
    def of(cls, source: Path) -> "SourceIdentity":
        """Returns the present identity of a file; raises OSError."""
        status = source.stat()
        return cls(status.st_size, status.st_mtime_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Meta:
    """The content of meta.json."""

    format_version: int
    source: Sequence[int]
    word_count: int
    size: int
    digest: str


class WrittenRows(NamedTuple):
    """What is known when all rows are written; `words` are distinct, in the order of rows."""

    words: Sequence[bytes]
    line_count: int
    mean: npt.NDArray[np.float32]
    digest: bytes


def open_folder(folder: Path, source: SourceIdentity) -> tuple[Meta, Arrays] | None:
    """Maps the arrays of a folder read-only; returns None unless it is whole and made from this source."""
    try:
        with (folder / _META).open("rb") as file:
            meta = Meta(**json.load(file))
            if (meta.format_version, *meta.source) != (FORMAT_VERSION, *source):
                return None
            arrays = {name: _map(folder, name) for name in ("rows", "mean", *Vocabulary._fields)}
            # If another process has replaced the folder meanwhile, the arrays may be those of two folders.
            is_replaced = not os.path.samestat(os.fstat(file.fileno()), (folder / _META).stat())
    except (OSError, ValueError, TypeError, SyntaxError, TokenError):  # missing, cut off, or something else
        return None
    count, size = meta.word_count, meta.size
    shapes = [array.shape for array in arrays.values()]
    is_whole = shapes[:-1] == [(count, size), (size,), (count,), (count,), (count + 1,)]
    return None if is_replaced or not is_whole else (meta, arrays)


def write_folder(folder: Path, blocks: Iterable[Block], *, size: int, source: SourceIdentity) -> WrittenRows:
    """Fills an empty folder, meta.json last, and waits until all files are on the disk."""
    written = _write_rows(folder, blocks, size=size)
    for name, array in {"mean": written.mean, **Vocabulary.of(written.words)._asdict()}.items():
        with _durable(folder / f"{name}.npy") as file:
            _write_header(file, array.dtype, array.shape)
            file.write(array.data)  # numpy.save would raise an OSError without the system's reason
    meta = Meta(
        format_version=FORMAT_VERSION,
        source=source,
        word_count=len(written.words),
        size=size,
        digest=_digest(written, size),
    )
    with _durable(folder / _META) as file:
        file.write(json.dumps(asdict(meta)).encode())
    return written


def _write_rows(folder: Path, blocks: Iterable[Block], *, size: int) -> WrittenRows:
    """Writes rows.npy; if several lines have the same word, the first counts, as for other loaders."""
    seen: dict[bytes, None] = {}
    line_count, total, digest = 0, np.zeros((1, size), np.float64), hashlib.blake2b()
    with _durable(folder / "rows.npy") as file:
        _write_header(file, np.dtype(np.float32), (0, size))
        for words, values in blocks:
            new = _add_unseen(words, seen)
            rows = np.ascontiguousarray(values if len(new) == len(words) else values[new])
            line_count += len(words)
            file.write(rows.data)
            digest.update(rows.data)
            # Accumulating adds row after row, so the sum does not depend on where blocks end.
            total = np.add.accumulate(np.concatenate([total, rows], dtype=np.float64), axis=0)[-1:]
        file.seek(0)  # numpy pads headers so that the number of rows may grow in place
        _write_header(file, np.dtype(np.float32), (len(seen), size))
    mean = (total[0] / len(seen)).astype(np.float32)
    return WrittenRows(words=list(seen), line_count=line_count, mean=mean, digest=digest.digest())


def _add_unseen(words: Sequence[bytes], seen: dict[bytes, None]) -> list[int]:
    """Adds words to `seen`; returns the places of those that were new."""
    new = []
    for at, word in enumerate(words):
        if word not in seen:
            seen[word] = None
            new.append(at)
    return new


def _digest(written: WrittenRows, size: int) -> str:
    """Returns 16 hexadecimal digits over size, values and words; no word holds a line break."""
    digest = hashlib.blake2b(str(size).encode(), digest_size=_DIGEST_BYTES)
    digest.update(written.digest)
    for word in written.words:
        digest.update(word + b"\n")
    return digest.hexdigest()


@contextlib.contextmanager
def _durable(path: Path) -> Iterator[BinaryIO]:
    """Opens a new file, which is on the disk when the block ends."""
    with path.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _write_header(file: BinaryIO, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def _map(folder: Path, name: str) -> npt.NDArray[Any]:
    # numpy.load with mmap_mode does this, too, but takes some damaged files for zip archives or pickles.
    return np.lib.format.open_memmap(folder / f"{name}.npy", mode="r")
