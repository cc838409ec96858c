"""Makes forks safe: they wait for running unary calls, and a child opens channels of its own.

gRPC's core must not be copied while a thread is inside a call, and a child that closed its parent's channels
would end the parent's connections.
"""

import os
import threading
import time
import weakref
from typing import Any

_MAX_WAIT_S = 1.0  # a fork that took longer would surprise more than a child that may fail
# gRPC's threads end a connection after its channel; a fork in between left one child of 80 hanging.
_SETTLE_S = 0.05


class _RunningCalls:
    """Counts unary calls, each a `with` block; forks wait for them, and new calls for the fork."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._count = 0
        self._is_forking = False

    def __enter__(self) -> None:
        with self._changed:
            while self._is_forking:
                self._changed.wait()
            self._count += 1

    def __exit__(self, *_error: object) -> None:
        with self._changed:
            self._count -= 1
            if self._is_forking:
                self._changed.notify_all()

    def before_fork(self) -> None:
        with self._changed:
            self._is_forking = True
            self._changed.wait_for(lambda: not self._count, timeout=_MAX_WAIT_S)

    def after_fork_in_parent(self) -> None:
        with self._changed:
            self._is_forking = False
            self._changed.notify_all()


_running_calls = _RunningCalls()
_owners: "weakref.WeakSet[Any]" = weakref.WeakSet()
_parents_channels: list[object] = []  # never collected, because that would close them


def running_calls() -> _RunningCalls:
    """Returns this process's counter; a call during which its own thread forks keeps its parent's."""
    return _running_calls


def register(owner: Any) -> None:
    """Calls an owner of channels at every fork from now on.

    Its `before_fork()` closes unused channels and returns whether there were any; its `after_fork_in_child()`
    forgets all channels without closing them, and returns them.
    """
    _owners.add(owner)


def child_options() -> list[tuple[str, Any]]:
    """Returns channel arguments that keep a forked child from sharing its parent's connections."""
    return [("unrolled.fork", f"{os.getpid()}")] if _parents_channels else []


def _before_fork() -> None:
    _running_calls.before_fork()
    has_closed = [owner.before_fork() for owner in list(_owners)]
    if any(has_closed):
        time.sleep(_SETTLE_S)


def _after_fork_in_parent() -> None:
    _running_calls.after_fork_in_parent()


def _after_fork_in_child() -> None:
    global _running_calls  # noqa: PLW0603 - the parent's counts threads that a child does not have
    _running_calls = _RunningCalls()
    _parents_channels.append([owner.after_fork_in_child() for owner in list(_owners)])


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
