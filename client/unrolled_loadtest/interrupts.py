"""Handling of signals: the first one ends a measurement with a report, the second one at once."""

import signal
import threading
from collections.abc import Callable
from typing import Any, Self

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


class Interrupts:
    """A context manager that handles Ctrl-C, SIGTERM and SIGHUP, if it is entered in the main thread.

    A first signal raises KeyboardInterrupt, or calls what `during_load` was given. A second one raises it.
    """

    def __init__(self) -> None:
        self._act: Callable[[], None] | None = None
        self._has_come = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._handle) for number in _handled()}
        return self

    def __exit__(self, *_error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def before_load(self) -> None:
        """Makes a first signal raise KeyboardInterrupt, because there is nothing to report yet.

        Raises:
            KeyboardInterrupt: A signal has come already.
        """
        self._act = None
        if self._has_come:
            raise KeyboardInterrupt

    def during_load(self, act: Callable[[], None]) -> None:
        """Makes a first signal call `act`, also after the load, so that its report is not lost."""
        self._act = act

    def _handle(self, _number: int, _frame: object) -> None:
        is_first, self._has_come = not self._has_come, True
        if not is_first or self._act is None:
            raise KeyboardInterrupt
        self._act()


def _handled() -> list[int]:
    """Returns the signals that this system has, without a SIGHUP that nohup has switched off."""
    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    return [
        number
        for number in numbers
        if signal.Signals(number).name != "SIGHUP" or signal.getsignal(number) is not signal.SIG_IGN
    ]
