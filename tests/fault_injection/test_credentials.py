"""The server refuses wrong and expired certificates and tokens, and clear text to a TLS port.

The server runs in a separate process, because the tests check its log.
"""

import os
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from unrolled_client import AuthenticationError, Client, UnavailableError

pytestmark = pytest.mark.faults

TOKEN, GUESS = "right-" + "a" * 32, "guess-" + "b" * 32
TIMEOUT_S = 60


@dataclass
class Served:
    """A running server; `log` is complete after its end."""

    address: str
    command_line: str
    errors: list = field(default_factory=list)

    @property
    def log(self):
        return "".join(self.errors)


@contextmanager
def serving(*flags):
    """Runs the command; ends it by SIGTERM and checks exit code 0."""
    command = [sys.executable, "-m", "unrolled_server", "--address", "127.0.0.1:0", "--log-level", "debug"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # Tests of the command `unrolled` in this process may have set GRPC_VERBOSITY.
    environment = {name: value for name, value in os.environ.items() if name != "GRPC_VERBOSITY"}
    with subprocess.Popen([*command, *map(str, flags)], env=environment, **pipes) as process:
        try:
            line = process.stdout.readline()
            address = line.removeprefix("unrolled-server ready on ").split(" | ")[0]
            served = Served(address, Path(f"/proc/{process.pid}/cmdline").read_text())
            reading = threading.Thread(target=lambda: served.errors.extend(process.stderr))
            reading.start()
            yield served
            process.terminate()
            assert process.wait(TIMEOUT_S) == 0
            reading.join()
        finally:
            process.kill()


def refused(address, error, **arguments):
    """Calls twice and expects the error; a client that cannot connect tries up to five times per call."""
    with Client(address, **arguments) as client:
        for _ in range(2):
            with pytest.raises(error):
                client.server_info()


def answered(address, **arguments):
    with Client(address, **arguments) as client:
        return client.forward(["hello"], hidden_size=2).outputs.shape == (1, 5, 2)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_wrong_tokens_are_logged_once_and_failed_handshakes_never(
    authority, other_authority, server_identity, write_tokens
):
    mine = authority.issue("mine", "me@example.org").client_arguments
    stranger = other_authority.issue("stranger", "me@example.org").client_arguments
    late = authority.issue_expired("late", "me@example.org").client_arguments
    roots = {"root_certificates": authority.pem}
    tls = ("--tls-certificate", server_identity.certificate, "--tls-key", server_identity.key)
    with serving(*tls, "--tls-client-ca", authority.file, "--tokens", write_tokens(ops=TOKEN)) as server:
        address = server.address
        assert answered(address, **roots, **mine, token=TOKEN)
        refused(address, UnavailableError, token=TOKEN)  # in clear text
        refused(address, UnavailableError, root_certificates=other_authority.pem, **mine, token=TOKEN)
        refused(address, UnavailableError, **roots, token=TOKEN)  # without a certificate
        refused(address, UnavailableError, **roots, **stranger, token=TOKEN)
        refused(address, UnavailableError, **roots, **late, token=TOKEN)
        refused(address, AuthenticationError, **roots, **mine, token=GUESS)
        refused(address, AuthenticationError, **roots, **mine)
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port)), TIMEOUT_S) as web:  # a browser, or a scanner
            web.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            while web.recv(1_024):
                pass
        assert answered(address, **roots, **mine, token=TOKEN)
    refusals = [line for line in server.log.splitlines() if "refused" in line]
    for reason in (
        "this server does not know the token",
        "this server wants a token",
    ):
        assert len([line for line in refusals if reason in line]) == 1, reason
    assert "Handshake failed" not in server.log
    key_lines = server_identity.key.read_text().splitlines()[1:-1]
    for secret in (TOKEN, GUESS, *key_lines):
        assert secret not in server.log
        assert secret not in server.command_line


def test_nothing_is_served_in_clear_text_by_a_tls_port(server_identity, write_tokens):
    """The server returns no byte of HTTP/2."""
    tls = ("--tls-certificate", server_identity.certificate, "--tls-key", server_identity.key)
    with serving(*tls) as server:
        host, _, port = server.address.rpartition(":")
        with socket.create_connection((host, int(port)), TIMEOUT_S) as connection:
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
            answer = b""
            while part := connection.recv(1_024):
                answer += part
        # At most one TLS record of the kind "alert".
        assert answer[:1] in (b"", b"\x15")
        assert len(answer) <= 7
