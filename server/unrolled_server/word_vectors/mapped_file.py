"""The converted form of a text file: one file, mapped into memory, whose pages all processes share.

It holds a header, then rows, mean and the vocabulary's index (`Header.sections` says where). What does not
fit, be it another version, a source that changed or a file that was cut, counts as not there: the source is
converted anew.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from unrolled_server.word_vectors.header import HEADER_BYTES, Header, Origin
from unrolled_server.word_vectors.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Converted:
    """An open converted file; its arrays are read-only views of one shared mapping."""

    header: Header
    rows: npt.NDArray[np.float32]
    mean: npt.NDArray[np.float32]
    vocabulary: Vocabulary


def open_converted(path: Path, *, origin: Origin) -> Converted | None:
    """Maps the file at `path`; None if there is none that was made whole from a source of this origin."""
    try:
        file = path.open("rb")
    except OSError:
        return None
    with file:
        header = Header.unpack(file.read(HEADER_BYTES))
        if header is None or header.origin != origin:
            return None
        sections = header.sections()
        if os.fstat(file.fileno()).st_size != sections["text"].stop:
            return None
        memory = np.memmap(file, np.uint8, "r")
    views = {
        name: memory[section.start : section.stop].view(section.dtype).reshape(section.shape)
        for name, section in sections.items()
    }
    index = {name: np.asarray(views[name]) for name in ("hashes", "order", "offsets", "text")}
    return Converted(
        header=header,
        rows=views["rows"],
        mean=np.asarray(views["mean"]),
        vocabulary=Vocabulary(**index),
    )
