"""Reports that the server is ready: a line on standard output, and a message to systemd."""

import logging
import os
import socket
import sys

LOG = logging.getLogger(__name__)


def notify_ready(line: str) -> None:
    """Writes the line, and notifies systemd if it waits for this process (sd_notify(3), Type=notify).

    A failure, such as a full disk or a closed pipe, is logged, and serving goes on.
    """
    _write(f"{line}\n")
    path = os.environ.get("NOTIFY_SOCKET")
    if path:
        _notify_systemd(path, f"READY=1\nSTATUS={line}\n")


def _write(line: str) -> None:
    """Writes past Python's buffer, which would try again at exit and change the exit code."""
    if sys.__stdout__ is None:  # closed by the parent process
        return
    try:
        os.write(sys.__stdout__.fileno(), os.fsencode(line))
    except OSError as error:
        LOG.warning("cannot write the ready line to standard output: %s", error.strerror)


def _notify_systemd(path: str, state: str) -> None:
    address = f"\0{path[1:]}" if path.startswith("@") else path  # @ marks an abstract socket
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifier:
            notifier.sendto(os.fsencode(state), address)
    except OSError as error:
        LOG.warning("cannot notify systemd through NOTIFY_SOCKET=%s: %s", path, error.strerror)
