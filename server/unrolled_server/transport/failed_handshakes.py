"""TLS handshakes that failed, told by reason, once a minute each.

Nothing in Python hears of them: gRPC's core writes a line for each to standard error, whatever the log level,
so a client in clear text that tries again and again would fill a disk. Hence what the core writes is read
here. Everything else goes on to where it was going.
"""

import contextlib
import faulthandler
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import IO

from unrolled_server.observability.log_throttle import LogThrottle

LOG = logging.getLogger(__name__)

# "I1125 06:56:43.650308   16112 ssl_transport_security.cc:2563] Handshake failed with error SSL_ERROR_SSL:
# error:100000f7:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER: Invalid certificate verification context"
_FAILURE = re.compile(rb"^[IWE]\d{4} .*\] Handshake failed .*OPENSSL_internal:(\w+)(?:: ([\w ()-]+))?")
_MEANINGS = {
    "WRONG_VERSION_NUMBER": "it spoke clear text, or no TLS",
    "HTTP_REQUEST": "it spoke clear text HTTP/1",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it has no certificate, which tls_client_ca asks for",
    "UNSUPPORTED_PROTOCOL": "its TLS is older than 1.2",
}
_END_TIMEOUT_S = 1.0
_UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"


@contextlib.contextmanager
def told_seldom() -> Iterator[None]:
    """Reads what is written to the descriptor of standard error, for the whole process.

    Python's own messages go past it, so that they are there whatever becomes of the process.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)  # the core's threads never wait for this; what has no room is dropped
    with _python_apart() as stderr:
        number = stderr.fileno()
        thread = threading.Thread(target=_pass_on, args=(reader, number), name="stderr", daemon=True)
        thread.start()
        os.dup2(writer, 2)
        os.close(writer)
        try:
            yield
        finally:
            os.dup2(number, 2)  # which closes the pipe, and so ends the thread
            thread.join(_END_TIMEOUT_S)  # a child process may hold the other end


def reason_in(line: bytes) -> str | None:
    """Why a handshake failed, for a person; None for a line that is about something else."""
    found = _FAILURE.match(line)
    if found is None:
        return None
    name, detail = found[1].decode(), (found[2] or b"").decode()
    if name == _UNTRUSTED:
        return f"its certificate is not accepted: {detail}"
    return _MEANINGS.get(name, name)


def _pass_on(reader: int, to: int) -> None:
    tell = _teller()
    with open(reader, "rb") as lines:
        for line in lines:
            reason = reason_in(line)
            if reason is None:
                with contextlib.suppress(OSError):  # a full disk may have room again for the next
                    os.write(to, line)
            else:
                tell(reason)


def _teller() -> Callable[[str], None]:
    told = LogThrottle()

    def tell(reason: str) -> None:
        more = told.allow(reason, now_s=time.monotonic())
        if more is not None:
            LOG.warning("refused a connection, TLS failed: %s%s", reason, more)

    return tell


@contextlib.contextmanager
def _python_apart() -> Iterator[IO[str]]:
    """Gives Python a descriptor of its own for standard error, for messages, logs and crashes."""
    before = sys.stderr
    handlers = [
        handler
        for handler in logging.getLogger().handlers
        if isinstance(handler, logging.StreamHandler) and handler.stream is before
    ]
    with os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace") as apart:
        sys.stderr = apart
        for handler in handlers:
            handler.setStream(apart)
        had_faults = faulthandler.is_enabled()
        faulthandler.enable(apart)
        try:
            yield apart
        finally:
            faulthandler.disable()
            if had_faults:
                faulthandler.enable(before)
            for handler in handlers:
                handler.setStream(before)
            sys.stderr = before
