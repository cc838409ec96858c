"""Lines of gRPC's core, and what becomes of standard error while they are read."""

import os
import subprocess
import sys

import pytest
from unrolled_server.transport.failed_handshakes import reason_in

LINE = b"I1125 06:56:43.650308   16112 ssl_transport_security.cc:2563] Handshake failed with error X: "
OPENSSL = b"error:100000f7:SSL routines:OPENSSL_internal:"


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (b"WRONG_VERSION_NUMBER: Invalid certificate verification context", "it spoke clear text, or no TLS"),
        (b"PEER_DID_NOT_RETURN_A_CERTIFICATE: x", "it has no certificate, which tls_client_ca asks for"),
        (
            b"CERTIFICATE_VERIFY_FAILED: certificate has expired",
            "its certificate is not accepted: certificate has expired",
        ),
        (b"NO_SHARED_CIPHER", "NO_SHARED_CIPHER"),
    ],
)
def test_the_core_says_why_and_a_person_reads_it(end, reason):
    assert reason_in(LINE + OPENSSL + end + b"\n") == reason


@pytest.mark.parametrize("line", [b"", b"terminate called\n", b"E1125 chttp2.cc:1] OPENSSL_internal:X\n"])
def test_other_lines_are_about_something_else(line):
    assert reason_in(line) is None


def test_python_and_the_rest_reach_standard_error_and_failures_once():
    """In a process of its own, whose descriptor 2 is replaced for a while and then is as before."""
    script = f"""
import logging, os, sys
logging.basicConfig(format="%(message)s")
from unrolled_server.transport.failed_handshakes import told_seldom
line = {LINE + OPENSSL + b"WRONG_VERSION_NUMBER: x"!r} + b"\\n"
with told_seldom():
    for _ in range(100):
        os.write(2, line)
    os.write(2, b"from a library\\n")
    logging.warning("from a log")
    print("from python", file=sys.stderr)
os.write(2, b"after\\n")
logging.warning("log after")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, env=dict(os.environ)
    )
    lines = done.stderr.decode().splitlines()
    assert sorted(lines) == sorted(
        [
            "refused a connection, TLS failed: it spoke clear text, or no TLS",
            "from a library",
            "from a log",
            "from python",
            "after",
            "log after",
        ]
    )
