"""The last sending of a process that ends: tried, but a collector that is not there holds nobody up."""

import threading
from collections.abc import Callable
from typing import Protocol

MAX_WAIT_S = 2.0


class Exporter(Protocol):
    """One of OTLP's exporters."""

    def shutdown(self) -> None:
        """Ends it, and what it waits for before it tries again."""


def send_last(exporter: Exporter, send: Callable[[], object]) -> None:
    """Sends by an exporter, and ends it: afterwards, or while it tries for longer than `MAX_WAIT_S`."""
    timer = threading.Timer(MAX_WAIT_S, exporter.shutdown)
    timer.start()
    try:
        send()
    finally:
        timer.cancel()
