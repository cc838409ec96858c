"""Serves in this process: starts, reports ready, and drains at shutdown."""

import asyncio
import ctypes
import gc
import logging

from unrolled_server.backend import MIB
from unrolled_server.process.ready_notification import notify_ready
from unrolled_server.process.shutdown_signals import wait_for_shutdown
from unrolled_server.settings import Settings
from unrolled_server.transport.address import describe_protection
from unrolled_server.transport.server import Server

LOG = logging.getLogger(__name__)

KEPT_BYTES = 32 << 20
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_... of glibc's malloc.h


async def serve(settings: Settings) -> None:
    """Serves until a signal or, if so set, the end of standard input; then drains; raises StartupError."""
    keep_freed_memory()
    server = Server(settings)
    await server.start()
    freeze_startup_objects()
    shutdown = asyncio.create_task(wait_for_shutdown(watch_stdin=settings.exit_with_stdin))
    await asyncio.sleep(0)  # so that a signal right after the ready line drains
    LOG.info("serving on %s: %s", server.address, describe_protection(settings))
    notify_ready(ready_line(server))
    await shutdown
    LOG.info("draining for up to %s s", settings.drain_timeout_s)
    await server.stop()


def ready_line(server: Server) -> str:
    """Returns the only line on standard output: address, device, instruction set, limits, fingerprint."""
    info = server.info
    limits = info.limits
    device = f"{info.device} ({info.instruction_set})" if info.instruction_set else info.device
    return (
        f"unrolled-server ready on {server.address} | device {device} | "
        f"up to {limits.max_words:,} words of {limits.max_word_length:,} symbols, "
        f"hidden size {limits.max_hidden_size:,}, replies of {limits.max_reply_bytes // MIB} MiB | "
        f"fingerprint {info.fingerprint}"
    )


def keep_freed_memory() -> None:
    """Makes glibc keep up to `KEPT_BYTES` of freed memory a thread for the next blocks; no-op without glibc.

    Else most replies get new pages: of 0.5 MB if one caller waits for each, of 6 MB with eight callers. The
    page faults took a third to a half of the server's time.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(_MMAP_THRESHOLD, KEPT_BYTES)


def freeze_startup_objects() -> None:
    """Freezes startup objects so that the garbage collector skips them."""
    gc.collect()
    gc.freeze()
