"""The line on standard output that starters wait for.

A file of its own because the lone server and the supervisor of several write it, and because a full disk or a
closed pipe at its other end must not end what is ready to serve.
"""

import logging
import os
import sys

LOG = logging.getLogger(__name__)


def announce(line: str) -> None:
    """Writes the line; where that is impossible the log says why, and serving goes on.

    It passes by Python's buffer, which would try again at the end and spoil the exit code.
    """
    if sys.__stdout__ is None:  # closed by whoever started us; its number may be a connection's by now
        return
    try:
        os.write(sys.__stdout__.fileno(), f"{line}\n".encode())
    except OSError as error:
        LOG.warning("standard output does not take the ready line: %s", error.strerror)
