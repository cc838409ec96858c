"""The converted form of a vectors file: a folder of .npy files, which all processes map, and meta.json."""

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from unrolled_server.word_vectors.blocks import Block
from unrolled_server.word_vectors.summary import Summary
from unrolled_server.word_vectors.vocabulary import Vocabulary

# Increase it with every change of the arrays, of the digest, or of how the text is read.
FORMAT_VERSION = 3
_META = "meta.json"

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Meta:
    """The content of meta.json; `source` is the `source_identity` of the file that was converted."""

    format_version: int
    source: Sequence[int]
    word_count: int
    size: int
    digest: str


def open_folder(folder: Path, source: Sequence[int]) -> tuple[Meta, Arrays] | None:
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


def write_folder(folder: Path, blocks: Iterable[Block], *, size: int, source: Sequence[int]) -> Summary:
    """Fills an empty folder, meta.json last, and waits until all files are on the disk."""
    summary = _write_rows(folder, blocks, size=size)
    words = list(summary.words)
    for name, array in {"mean": summary.mean, **Vocabulary.of(words)._asdict()}.items():
        with _durable(folder / f"{name}.npy") as file:
            _write_header(file, array.dtype, array.shape)
            file.write(array.data)  # numpy.save would raise an OSError without the system's reason
    meta = Meta(
        format_version=FORMAT_VERSION,
        source=source,
        word_count=len(words),
        size=size,
        digest=summary.digest,
    )
    with _durable(folder / _META) as file:
        file.write(json.dumps(asdict(meta)).encode())
    return summary


def _write_rows(folder: Path, blocks: Iterable[Block], *, size: int) -> Summary:
    summary = Summary(size)
    with _durable(folder / "rows.npy") as file:
        _write_header(file, np.dtype(np.float32), (0, size))
        for block in blocks:
            file.write(summary.add(block).data)
        file.seek(0)  # numpy pads headers so that the number of rows may grow in place
        _write_header(file, np.dtype(np.float32), (len(summary.words), size))
    return summary


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
