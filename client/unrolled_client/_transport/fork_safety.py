"""What a process that forks asks of its clients; gRPC itself leaves that to its users.

A file of its own because it concerns every client of the process at once. A child must not touch its parent's
channels, so it opens its own; and gRPC's core cannot be copied while a thread is inside a call, so a fork
waits for the calls that run, and calls wait for the fork.
"""

import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, Protocol

# A fork that waited longer would surprise more than a child that may fail.
_MAX_WAIT_S = 1.0
# gRPC's threads end a connection after its channel; a fork in that moment left one child of 80 hanging.
_SETTLE_S = 0.05


class Forgetful(Protocol):
    """Something with channels that a forked child must not use."""

    def drop_unused(self) -> bool:
        """Closes what nobody can use any more, before a fork, in the parent; whether there was any."""

    def forget(self) -> object:
        """Drops them unused; gives what must not be collected either."""


class _Gate:
    """Counts the calls that run, and holds others back while the process forks."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._running_count = 0
        self._is_forking = False

    def enter(self) -> None:
        with self._changed:
            while self._is_forking:
                self._changed.wait()
            self._running_count += 1

    def leave(self) -> None:
        with self._changed:
            self._running_count -= 1
            if self._is_forking:
                self._changed.notify_all()

    def close(self) -> None:
        """Waits until no call runs, or for `_MAX_WAIT_S`."""
        with self._changed:
            self._is_forking = True
            self._changed.wait_for(lambda: not self._running_count, timeout=_MAX_WAIT_S)

    def open(self) -> None:
        with self._changed:
            self._is_forking = False
            self._changed.notify_all()


_gate = _Gate()
_fork_count = 0
_forgetful: "weakref.WeakSet[Any]" = weakref.WeakSet()
_forgotten: list[object] = []


def fork_count() -> int:
    """Forks between this process and the one that imported this package."""
    return _fork_count


def forget_in_children(connection: Forgetful) -> None:
    """Has `drop_unused` called before every fork from now on, and `forget` in the child."""
    _forgetful.add(connection)


def between_forks(method: Callable[..., bytes]) -> Callable[..., bytes]:
    """The method, whose calls no fork of this process falls into, unless they take long."""

    def call(*args: Any, **kwargs: Any) -> bytes:
        gate = _gate
        gate.enter()
        try:
            return method(*args, **kwargs)
        finally:
            gate.leave()

    return call


def _before() -> None:
    _gate.close()
    dropped = [connection.drop_unused() for connection in list(_forgetful)]
    if any(dropped):
        time.sleep(_SETTLE_S)


def _after_in_parent() -> None:
    _gate.open()


def _after_in_child() -> None:
    """Leaves the parent's channels alone: closing one would end the parent's connection."""
    global _fork_count, _gate  # noqa: PLW0603 - facts about this process
    _fork_count += 1
    _gate = _Gate()  # the threads that the old one counted are not here
    _forgotten.extend(connection.forget() for connection in list(_forgetful))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
