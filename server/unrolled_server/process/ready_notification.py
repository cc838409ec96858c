"""Saying that the server is ready: a line on standard output, and a word to systemd.

A file of its own because the lone server and the supervisor of several have this to say, and because a full
disk or a closed pipe at the other end must not end what is ready to serve.
"""

import logging
import os
import socket
import sys

LOG = logging.getLogger(__name__)


def announce(line: str) -> None:
    """Writes the line, and tells systemd if it started this process and waits (sd_notify(3), Type=notify).

    Where that is impossible the log says why, and serving goes on.
    """
    _write(f"{line}\n")
    path = os.environ.get("NOTIFY_SOCKET")
    if path:
        _notify(path, f"READY=1\nSTATUS={line}\n")


def _write(line: str) -> None:
    """Passes by Python's buffer, which would try again at the end and spoil the exit code."""
    if sys.__stdout__ is None:  # closed by the process that started this one
        return
    try:
        os.write(sys.__stdout__.fileno(), os.fsencode(line))
    except OSError as error:
        LOG.warning("standard output does not take the ready line: %s", error.strerror)


def _notify(path: str, state: str) -> None:
    address = f"\0{path[1:]}" if path.startswith("@") else path  # @ is how systemd writes an abstract name
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifier:
            notifier.sendto(os.fsencode(state), address)
    except OSError as error:
        LOG.warning("cannot tell systemd through NOTIFY_SOCKET=%s: %s", path, error.strerror)
