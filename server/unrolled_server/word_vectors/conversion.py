"""Converting a text file, once: what takes long, and has many ways to go wrong.

The new file is written beside its place, and renamed into it when it is whole and on the disk: a conversion
that was killed leaves nothing that would be read. A lock lets one server convert while others wait for what
it makes.
"""

import contextlib
import fcntl
import logging
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TextIO

from unrolled_server.word_vectors.errors import VectorsError
from unrolled_server.word_vectors.header import Origin
from unrolled_server.word_vectors.mapped_file import open_converted
from unrolled_server.word_vectors.packed import unpacked
from unrolled_server.word_vectors.text_format import Block, TextVectors
from unrolled_server.word_vectors.writer import Writer

LOG = logging.getLogger(__name__)
PROGRESS_S = 5.0
POLL_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """From `source`, which was as `origin` says, to `target`; given up soon after `stop` is set."""

    source: Path
    target: Path
    origin: Origin
    stop: threading.Event

    def run(self) -> None:
        """Makes the target, or waits while another process does.

        Raises:
            VectorsError: The text is malformed or changed while it was read, the target cannot be written, or
                `stop` was set.
        """
        part = self.target.with_suffix(".part")
        try:
            self.target.parent.mkdir(parents=True, exist_ok=True)
            with self._alone():
                if open_converted(self.target, origin=self.origin) is not None:
                    return
                try:
                    self._write(part)
                    part.replace(self.target)
                finally:
                    part.unlink(missing_ok=True)
        except OSError as error:
            raise VectorsError(
                f"{self.source} cannot be converted into {self.target.parent}: {error.strerror}; "
                "name a directory that can be written and has room by --vectors-cache or XDG_CACHE_HOME"
            ) from None

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Holds the lock, which ends with the process that has it."""
        with self.target.with_suffix(".lock").open("w") as lock:
            if not _takes(lock):
                LOG.info("waiting for another process, which converts %s", self.source)
                while not _takes(lock):
                    self._refuse_if_told_to_stop()
                    self.stop.wait(POLL_S)
            yield

    def _write(self, part: Path) -> None:
        began_s = time.monotonic()
        LOG.info("converting %s (%d MiB), once", self.source, self.origin.source_bytes >> 20)
        with (
            self.source.open("rb") as source,
            unpacked(source, source=self.source) as text,
            part.open("wb") as file,
        ):
            vectors = TextVectors(text, source=self.source)
            writer = Writer(file, size=vectors.size)
            for block in self._watched(vectors, source):
                writer.add(block.words, block.values)
            writer.finish(self.origin)
            file.flush()
            os.fsync(file.fileno())
        if Origin.of(self.source) != self.origin:
            raise VectorsError(f"{self.source} changed while it was read; start again when it is complete")
        self._log_what_is_odd(writer)
        taken_s = time.monotonic() - began_s
        LOG.info("converted %d words of %d values in %.1f s", writer.word_count, vectors.size, taken_s)

    def _log_what_is_odd(self, writer: Writer) -> None:
        if writer.repeated_count:
            repeated = writer.repeated_count
            LOG.warning("%s: %d lines repeat a word; of each word the first counts", self.source, repeated)
        if phrase_count := writer.phrase_count():
            LOG.warning(
                "%s: %d words have white space inside or are white space; sentences are split there, so none "
                "has such a word",
                self.source,
                phrase_count,
            )

    def _watched(self, vectors: TextVectors, source: BinaryIO) -> Iterator[Block]:
        """Yields all blocks; logs now and then how far it is."""
        told_s = time.monotonic()
        for block in vectors.blocks():
            self._refuse_if_told_to_stop()
            yield block
            if time.monotonic() - told_s > PROGRESS_S:
                told_s = time.monotonic()
                LOG.info("converting %s: %d %%", self.source, 100 * source.tell() // self.origin.source_bytes)

    def _refuse_if_told_to_stop(self) -> None:
        if self.stop.is_set():
            raise VectorsError(f"{self.source} is not converted: it was told to stop")


def _takes(lock: TextIO) -> bool:
    """Whether the lock is this process's now."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
