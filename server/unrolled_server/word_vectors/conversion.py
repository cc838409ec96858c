"""Converts a vectors file: one process writes the folder while others wait for it."""

import contextlib
import logging
import shutil
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from unrolled_server.word_vectors.blocks import Block, VectorsError
from unrolled_server.word_vectors.mapped_file import open_folder, write_folder
from unrolled_server.word_vectors.source_file import open_source, source_identity

LOG = logging.getLogger(__name__)
PROGRESS_S = 5.0
POLL_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """A conversion of the file `source`, whose `source_identity` is `identity`, to the folder `target`."""

    source: Path
    target: Path
    identity: Sequence[int]
    stop: threading.Event

    def run(self) -> None:
        """Makes the target, or waits while another process makes it.

        The new folder is renamed into its place when it is whole and on the disk, so a conversion that is
        killed leaves nothing that would be opened. Setting `stop` cancels it within a second or two.

        Raises:
            VectorsError: The file is malformed or changed meanwhile, the target cannot be written, or `stop`
                was set.
        """
        unfinished = self.target.with_suffix(".unfinished")
        try:
            self.target.parent.mkdir(parents=True, exist_ok=True)
            with self._lock():
                if open_folder(self.target, self.identity) is not None:
                    return
                shutil.rmtree(unfinished, ignore_errors=True)
                try:
                    self._write(unfinished)
                    self._replace_target(unfinished)
                finally:
                    shutil.rmtree(unfinished, ignore_errors=True)
        except OSError as error:
            raise VectorsError(
                f"{self.source} cannot be converted into {self.target.parent}: {error.strerror}; "
                "name a directory that can be written and has room by --vectors-cache or XDG_CACHE_HOME"
            ) from None

    def _lock(self) -> contextlib.AbstractContextManager[object]:
        """Returns the lock, acquired. The system releases it if this process ends."""
        # Imported here because conversions are rare, and opening a converted file needs no fcntl.
        from filelock import FileLock, Timeout  # noqa: PLC0415

        # A soft lock, which filelock takes where flock is missing, would outlive a killed conversion.
        lock = FileLock(self.target.with_suffix(".lock"), fallback_to_soft=False)
        with contextlib.suppress(Timeout):
            return lock.acquire(blocking=False)
        LOG.info("waiting for another process, which converts %s", self.source)
        with contextlib.suppress(Timeout):
            return lock.acquire(poll_interval=POLL_S, cancel_check=self.stop.is_set)
        raise self._cancelled()

    def _write(self, folder: Path) -> None:
        started_s = time.monotonic()
        LOG.info("converting %s (%d MiB), once", self.source, self.source.stat().st_size >> 20)
        folder.mkdir()
        with open_source(self.source) as vectors:
            blocks = self._watched(vectors.blocks())
            summary = write_folder(folder, blocks, size=vectors.size, source=self.identity)
        if source_identity(self.source) != self.identity:
            raise VectorsError(f"{self.source} changed while it was read; start again when it is complete")
        summary.log_oddities(self.source)
        elapsed_s = time.monotonic() - started_s
        LOG.info("converted %d words of %d values in %.1f s", len(summary.words), vectors.size, elapsed_s)

    def _replace_target(self, folder: Path) -> None:
        # On NFS a folder whose files another process has mapped cannot be removed, only renamed.
        old = self.target.with_suffix(f".{uuid.uuid4().hex}")
        with contextlib.suppress(FileNotFoundError):
            self.target.rename(old)
        folder.rename(self.target)
        shutil.rmtree(old, ignore_errors=True)

    def _watched(self, blocks: Iterator[Block]) -> Iterator[Block]:
        """Yields all blocks, logs the progress, and stops when it is asked to."""
        logged_s, count = time.monotonic(), 0
        for block in blocks:
            if self.stop.is_set():
                raise self._cancelled()
            yield block
            count += len(block.words)
            if time.monotonic() - logged_s > PROGRESS_S:
                logged_s = time.monotonic()
                LOG.info("converting %s: %d words so far", self.source, count)

    def _cancelled(self) -> VectorsError:
        return VectorsError(f"{self.source} is not converted, because the conversion was cancelled")
