"""The threads of the native core, which all engines of a process share."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

from unrolled_server.engine import core

_numbers = count()
_claims: dict[int, int] = {}  # threads by the number of the claim
_lock = threading.RLock()  # reentrant, because the garbage collector may release claims at any time


def claim_threads(thread_count: int) -> int:
    """Lets so many threads share a call, or more if another claim has more; returns the claim's number.

    In a forked child the parent's claims don't count.
    """
    claim = next(_numbers)
    with _lock:
        _claims[claim] = thread_count
        _apply_claims()
    return claim


def release_threads(claim: int) -> None:
    """Ends a claim. After the last one, the core has neither threads nor memory that it keeps."""
    with _lock:
        if _claims.pop(claim, None) is None:
            return
        _apply_claims()
        if not _claims:
            core.keep_released(0)


@contextmanager
def only_threads(thread_count: int) -> Iterator[None]:
    """Lets so many threads share a call meanwhile, whatever the claims are."""
    with _lock:
        core.set_threads(thread_count)
        try:
            yield
        finally:
            _apply_claims()


def _apply_claims() -> None:
    core.set_threads(max(_claims.values(), default=1))


def _forget_claims() -> None:
    global _lock  # noqa: PLW0603 - another thread of the parent may hold it
    _lock = threading.RLock()
    _claims.clear()


os.register_at_fork(after_in_child=_forget_claims)
