"""Converting a text file, once: what takes long, and has many ways to go wrong.

The new file is written beside its place, and renamed into it when it is whole and on the disk: a conversion
that was killed leaves nothing that would be read. A lock lets one server convert while others wait for what
it makes.
"""

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from unrolled_server.vectors.converted import open_converted
from unrolled_server.vectors.errors import VectorsError
from unrolled_server.vectors.header import Header, Origin
from unrolled_server.vectors.text import TextVectors
from unrolled_server.vectors.writer import Writer

LOG = logging.getLogger(__name__)
PROGRESS_S = 5.0


def convert(source: Path, *, target: Path, origin: Origin) -> None:
    """Makes `target` from `source`, or waits while another process does.

    Raises:
        VectorsError: The text is malformed, it changed while it was read, or `target` cannot be written.
    """
    part = target.with_suffix(".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _alone(target.with_suffix(".lock"), source=source):
            if open_converted(target, origin=origin) is not None:
                return
            try:
                _write(part, source=source, origin=origin)
                part.replace(target)
            finally:
                part.unlink(missing_ok=True)
    except OSError as error:
        raise VectorsError(
            f"{source} cannot be converted into {target.parent}: {error.strerror}; "
            "--vectors-cache takes a directory that can be written and has room"
        ) from None


@contextlib.contextmanager
def _alone(lock: Path, *, source: Path) -> Iterator[None]:
    """Holds the lock, which ends with the process that has it."""
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            LOG.info("waiting for another process, which converts %s", source)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _write(part: Path, *, source: Path, origin: Origin) -> None:
    began_s = time.monotonic()
    LOG.info("converting %s (%d MiB), once", source, origin.source_bytes >> 20)
    with source.open("rb") as text, part.open("wb") as file:
        header = _write_all(TextVectors(text, source=source), text, file, source=source, origin=origin)
        file.flush()
        os.fsync(file.fileno())
    if Origin.of(source) != origin:
        raise VectorsError(f"{source} changed while it was read; start again when it is complete")
    taken_s = time.monotonic() - began_s
    LOG.info("converted %d words of %d values in %.1f s", header.word_count, header.size, taken_s)


def _write_all(
    vectors: TextVectors, text: BinaryIO, file: BinaryIO, *, source: Path, origin: Origin
) -> Header:
    writer = Writer(file, size=vectors.size)
    line_count = 0
    told_s = time.monotonic()
    for block in vectors.blocks():
        writer.add(block.words, block.values)
        line_count += len(block.words)
        if time.monotonic() - told_s > PROGRESS_S:
            told_s = time.monotonic()
            LOG.info("converting %s: %d %%", source, 100 * text.tell() // origin.source_bytes)
    if line_count > writer.word_count:
        repeated = line_count - writer.word_count
        LOG.warning("%s: %d lines repeat a word; of each word the first counts", source, repeated)
    return writer.finish(origin)
